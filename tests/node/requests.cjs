// As much of a browser's XMLHttpRequest as stock Phoenix clients use, over fetch.
"use strict"

module.exports = class {
  constructor() {
    this.readyState = 0
    this.responseText = ""
    this.timeout = 0
    this.headers = {}
    this.controller = new AbortController()
  }

  open(method, url) {
    this.method = method
    this.url = url
  }

  setRequestHeader(name, value) {
    this.headers[name] = value
  }

  send(body) {
    // Version 1.6 polls before it knows its time-out: then there is none.
    const late = this.timeout > 0 && setTimeout(() => {
      this.abort()
      this.ontimeout?.()
    }, this.timeout)
    fetch(this.url, {
      method: this.method, headers: this.headers, body: body ?? undefined, signal: this.controller.signal,
    })
      .then((response) => response.text())
      .then((text) => {
        clearTimeout(late)
        this.responseText = text
        this.readyState = 4
        this.onreadystatechange?.()
      }, () => {
        clearTimeout(late)
        if (!this.controller.signal.aborted) this.onerror?.()
      })
  }

  abort() {
    this.controller.abort()
  }
}
