// The server of npm `ws` that only counts: orders and answers as in send_loop.c.
const { WebSocketServer } = require("ws");
const readline = require("node:readline");

let count = 0;
let answer = "";
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  backlog: 4096,
  perMessageDeflate: false,
  handleProtocols: (offered) => offered.values().next().value,
});
server.on("listening", () => console.log(server.address().port));
server.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", () => {
    count += 1;
    if (answer) socket.send(answer);
  });
});
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [order, number] = line.split(" ");
  if (order === "fanout") {
    const text = "x".repeat(Number(number));
    for (const socket of server.clients) socket.send(text);
    console.log(server.clients.size);
  } else if (order === "answer") {
    answer = "x".repeat(Number(number));
    console.log(number);
  } else {
    console.log(count);
  }
}).on("close", () => process.exit(0));
