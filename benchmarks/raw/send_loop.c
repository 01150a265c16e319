/* What no gateway can beat: one thread, epoll, send(2), and nothing known of what is sent.
 *
 * Prints its port, then takes orders, one in a line, and answers each with a line:
 *   fanout SIZE   one text frame of so many bytes to every connection; answers with their number
 *   count         frames that came in since the start
 *   answer N      whether to answer each frame that comes in with one of N bytes; 0 for none
 * It ends when its input does. Requests get a canned answer, whatever they ask for.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILES_MAX 65536
#define CARRY_MAX 256

static const char ANSWER[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n";

struct connection {
    int upgraded;
    size_t carried;
    unsigned char carry[CARRY_MAX];
};

static struct connection *connections[FILES_MAX];
static unsigned long frames_in;
static size_t answer_size;

static size_t make_frame(unsigned char *frame, size_t size) {
    size_t head = 2;
    frame[0] = 0x81;
    if (size < 126) {
        frame[1] = (unsigned char)size;
    } else {
        frame[1] = 126;
        frame[2] = (unsigned char)(size >> 8);
        frame[3] = (unsigned char)size;
        head = 4;
    }
    memset(frame + head, 'x', size);
    return head + size;
}

static void take(int file, struct connection *one, const unsigned char *data, size_t size) {
    static unsigned char answer[1024];
    size_t answer_length = answer_size ? make_frame(answer, answer_size) : 0;
    size_t at = 0;
    while (size - at >= 2) {
        size_t length = data[at + 1] & 0x7f, head = 6;
        if (length == 126) {
            if (size - at < 4) break;
            length = (size_t)data[at + 2] << 8 | data[at + 3];
            head = 8;
        }
        if (size - at < head + length) break;
        at += head + length;
        frames_in++;
        if (answer_length && send(file, answer, answer_length, MSG_NOSIGNAL) < 0) return;
    }
    one->carried = size - at < CARRY_MAX ? size - at : 0;
    memcpy(one->carry, data + at, one->carried);
}

static void on_readable(int file) {
    static unsigned char data[65536 + CARRY_MAX];
    struct connection *one = connections[file];
    memcpy(data, one->carry, one->carried);
    ssize_t got = recv(file, data + one->carried, 65536, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        free(one);
        connections[file] = NULL;
        close(file);
        return;
    }
    if (one->upgraded) {
        take(file, one, data, one->carried + (size_t)got);
    } else if (got >= 4 && memcmp(data + got - 4, "\r\n\r\n", 4) == 0) {
        one->upgraded = 1;
        if (send(file, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0) perror("send");
    }
}

static void fan_out(size_t size) {
    static unsigned char frame[65536];
    size_t length = make_frame(frame, size);
    unsigned long told = 0;
    for (int file = 0; file < FILES_MAX; file++) {
        if (connections[file] && connections[file]->upgraded) {
            told += send(file, frame, length, MSG_NOSIGNAL) == (ssize_t)length;
        }
    }
    printf("%lu\n", told);
}

static int obey(void) {
    char line[128];
    if (!fgets(line, sizeof line, stdin)) return 0;
    if (sscanf(line, "answer %zu", &answer_size) == 1) {
        printf("%zu\n", answer_size);
    } else if (strncmp(line, "count", 5) == 0) {
        printf("%lu\n", frames_in);
    } else if (strncmp(line, "fanout ", 7) == 0) {
        fan_out(strtoul(line + 7, NULL, 10));
    } else {
        return 0;
    }
    fflush(stdout);
    return 1;
}

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int poll = epoll_create1(0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) return 1;
    getsockname(listener, (struct sockaddr *)&address, &length);
    setvbuf(stdin, NULL, _IONBF, 0);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[512];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = 0;
    epoll_ctl(poll, EPOLL_CTL_ADD, 0, &event);
    for (;;) {
        int count = epoll_wait(poll, events, 512, -1);
        for (int index = 0; index < count; index++) {
            int file = events[index].data.fd;
            if (file == 0) {
                if (!obey()) return 0;
            } else if (file == listener) {
                int made;
                while ((made = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (made >= FILES_MAX) return 1;
                    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    connections[made] = calloc(1, sizeof(struct connection));
                    event.data.fd = made;
                    epoll_ctl(poll, EPOLL_CTL_ADD, made, &event);
                }
            } else if (connections[file]) {
                on_readable(file);
            }
        }
    }
}
