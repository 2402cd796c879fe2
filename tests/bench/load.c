/* A cheap TFTP client for benchmarks: many clients in one thread, each running through a script of requests.
 *
 *   cc -O2 -o load load.c
 *   ./load HOST PORT SCRIPT [-c CLIENTS] [-n RUNS] [-b BLKSIZE] [-w WINDOWSIZE] [-t TIMEOUT_MS] [-d DEADLINE_S] [-r RATE]
 *
 * A line of SCRIPT is a letter and a name: G gets a file, P asks for its size and leaves with "Early terminate" as Pi
 * firmware does, M expects that it is missing. %d or %08d in a name becomes the client's number. RUNS runs of the script are
 * done by CLIENTS clients side by side; each request leaves from a socket of its own. Prints one JSON object; times are
 * those of whole runs, in milliseconds. Without -r each client begins its next run at once; with it RATE runs a second
 * begin, whatever the answers do, and their times count from when they were due. Content is not looked at, sizes are (-e BYTES of one run's G files).
 * With -a MS each acknowledgement leaves so much later, as over a link of that latency; for one client alone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CLIENTS = 4096, MOST_STEPS = 256, MOST_PACKET = 65536, SWEEP_MS = 20 };
enum { RRQ = 1, DATA = 3, ACK = 4, ERROR = 5, OACK = 6 };

struct step {
    char kind;
    char name[256];
};

struct client {
    int fd;              /* -1: idle */
    int step;
    int heard;           /* the server's port is known and the socket connected */
    unsigned blksize, window, in_window;
    uint64_t acked;      /* blocks had in order */
    uint64_t run_bytes;
    double run_began, last;
};

static struct step steps[MOST_STEPS];
static int n_steps;
static struct client clients[MOST_CLIENTS];
static struct sockaddr_in server;
static int epoll_fd;
static unsigned want_blksize = 1468, want_window = 1;
static double timeout_ms = 1000, rate_per_ms, began_ms, late_ms;
static long runs = 1, begun, ended, good, retries, answers;
static uint64_t all_bytes, all_blocks;
static long long expected = -1;
static double *times;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void put(struct client *c, const void *data, size_t size)
{
    if (send(c->fd, data, size, 0) < 0 && errno != EAGAIN && errno != ECONNREFUSED)
        perror("send");
}

static void put_ack(struct client *c, uint64_t block)
{
    uint8_t ack[4] = {0, ACK, block >> 8 & 255, block & 255};
    if (late_ms)
        for (double until = now_ms() + late_ms; now_ms() < until;)
            ;
    put(c, ack, sizeof ack);
    c->in_window = 0;
}

static void ask(struct client *c)
{
    char packet[600];
    int at = 2;
    packet[0] = 0;
    packet[1] = RRQ;
    at += snprintf(packet + at, 300, steps[c->step].name, (int)(c - clients)) + 1;
    at += sprintf(packet + at, "octet") + 1;
    at += sprintf(packet + at, "tsize") + 1;
    at += sprintf(packet + at, "0") + 1;
    at += sprintf(packet + at, "blksize") + 1;
    at += sprintf(packet + at, "%u", want_blksize) + 1;
    if (want_window > 1) {
        at += sprintf(packet + at, "windowsize") + 1;
        at += sprintf(packet + at, "%u", want_window) + 1;
    }
    if (sendto(c->fd, packet, at, 0, (struct sockaddr *)&server, sizeof server) < 0)
        perror("sendto");
    c->last = now_ms();
}

static void open_step(struct client *c)
{
    int room = 8 << 20;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) {
        perror("socket");
        exit(2);
    }
    if (setsockopt(c->fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    c->heard = 0;
    c->blksize = 512;
    c->window = 1;
    c->in_window = 0;
    c->acked = 0;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
    ask(c);
}

static void begin_run(struct client *c)
{
    c->fd = -1;
    double due = rate_per_ms ? began_ms + begun / rate_per_ms : 0, t = now_ms();
    if (begun >= runs || due > t)
        return;
    begun++;
    c->step = 0;
    c->run_bytes = 0;
    c->run_began = rate_per_ms ? due : t;
    open_step(c);
}

static void end_run(struct client *c, int ok)
{
    if (ok && expected >= 0 && c->run_bytes != (uint64_t)expected)
        ok = 0;
    if (ok)
        times[good++] = now_ms() - c->run_began;
    all_bytes += c->run_bytes;
    ended++;
    begin_run(c);
}

static void next_step(struct client *c, int ok)
{
    close(c->fd);
    c->fd = -1;
    answers++;
    if (!ok || ++c->step == n_steps)
        end_run(c, ok);
    else
        open_step(c);
}

static void read_oack(struct client *c, const char *at, const char *end)
{
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (value >= end)
            return;
        if (!strcasecmp(at, "blksize"))
            c->blksize = atoi(value);
        if (!strcasecmp(at, "windowsize"))
            c->window = atoi(value);
        at = value + strlen(value) + 1;
    }
}

static void take_data(struct client *c, unsigned block, unsigned size)
{
    if (block != (c->acked + 1 & 0xffff)) {
        /* A gap (ahead of what is expected) is told once a window; what was had before is passed over. */
        if ((uint16_t)(block - c->acked) < 0x8000 && c->in_window) {
            retries++;
            put_ack(c, c->acked);
        }
        return;
    }
    c->acked++;
    c->in_window++;
    c->run_bytes += size;
    all_blocks++;
    if (size < c->blksize) {
        put_ack(c, c->acked);
        next_step(c, 1);
    } else if (c->in_window >= c->window)
        put_ack(c, c->acked);
}

static void take(struct client *c, const uint8_t *packet, ssize_t size, const struct sockaddr_in *from)
{
    static const char early[] = "\0\5\0\0Early terminate";
    char kind = steps[c->step].kind;
    if (size < 4)
        return;
    if (!c->heard) {
        connect(c->fd, (const struct sockaddr *)from, sizeof *from);
        c->heard = 1;
    }
    c->last = now_ms();
    if (packet[1] == ERROR) {
        if (kind != 'M')
            fprintf(stderr, "error %d for %s: %.80s\n", packet[3], steps[c->step].name, packet + 4);
        next_step(c, kind == 'M' && packet[3] == 1);
    } else if (kind == 'M') {
        next_step(c, 0);
    } else if (kind == 'P') {
        put(c, early, sizeof early);
        next_step(c, 1);
    } else if (packet[1] == OACK && !c->acked) {
        read_oack(c, (const char *)packet + 2, (const char *)packet + size);
        put_ack(c, 0);
    } else if (packet[1] == DATA)
        take_data(c, packet[2] << 8 | packet[3], size - 4);
}

static void readable(struct client *c)
{
    static uint8_t packet[MOST_PACKET + 1];
    int fd = c->fd;
    for (int turn = 0; turn < 128 && c->fd == fd && fd >= 0; turn++) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t size = recvfrom(fd, packet, MOST_PACKET, 0, (struct sockaddr *)&from, &length);
        if (size < 0) {
            if (errno != EAGAIN)
                next_step(c, 0);
            return;
        }
        packet[size] = 0;
        take(c, packet, size, &from);
    }
}

static void sweep(double t, int n)
{
    for (int i = 0; i < n; i++) {
        struct client *c = &clients[i];
        if (c->fd < 0 || t - c->last < timeout_ms)
            continue;
        retries++;
        c->last = t;
        if (c->heard)
            put_ack(c, c->acked);
        else
            ask(c);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double p)
{
    return good ? times[(long)((good - 1) * p)] : -1;
}

static void read_script(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(2);
    }
    while (n_steps < MOST_STEPS && fscanf(file, " %c %255s", &steps[n_steps].kind, steps[n_steps].name) == 2)
        n_steps++;
    fclose(file);
}

int main(int argc, char **argv)
{
    int n = 1;
    double deadline_ms = 60e3, swept;
    struct rlimit files = {65536, 65536};
    struct epoll_event events[256];
    if (argc < 4) {
        fprintf(stderr, "usage: load HOST PORT SCRIPT [options]\n");
        return 2;
    }
    server.sin_family = AF_INET;
    server.sin_port = htons(atoi(argv[2]));
    inet_pton(AF_INET, argv[1], &server.sin_addr);
    read_script(argv[3]);
    for (int i = 4; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        switch (argv[i][1]) {
        case 'c': n = atoi(value); break;
        case 'n': runs = atol(value); break;
        case 'b': want_blksize = atoi(value); break;
        case 'w': want_window = atoi(value); break;
        case 't': timeout_ms = atof(value); break;
        case 'd': deadline_ms = atof(value) * 1e3; break;
        case 'r': rate_per_ms = atof(value) / 1e3; break;
        case 'e': expected = atoll(value); break;
        case 'a': late_ms = atof(value); break;
        }
    }
    if (n > MOST_CLIENTS)
        n = MOST_CLIENTS;
    if (n > runs)
        n = runs;
    setrlimit(RLIMIT_NOFILE, &files);
    times = calloc(runs + 1, sizeof *times);
    epoll_fd = epoll_create1(0);
    began_ms = swept = now_ms();
    for (int i = 0; i < n; i++)
        begin_run(&clients[i]);
    while (ended < runs && now_ms() - began_ms < deadline_ms) {
        int ready = epoll_wait(epoll_fd, events, 256, rate_per_ms ? 1 : SWEEP_MS);
        for (int i = 0; i < ready; i++)
            readable(events[i].data.ptr);
        for (int i = 0; rate_per_ms && i < n && began_ms + begun / rate_per_ms <= now_ms(); i++)
            if (clients[i].fd < 0)
                begin_run(&clients[i]);
        if (now_ms() - swept > SWEEP_MS) {
            swept = now_ms();
            sweep(swept, n);
        }
    }
    double seconds = (now_ms() - began_ms) / 1e3;
    qsort(times, good, sizeof *times, by_size);
    printf("{\"bytes\": %llu, \"seconds\": %.4f, \"MBps\": %.2f, \"blocks_per_s\": %.0f, \"answers_per_s\": %.0f, "
           "\"ok\": %ld, \"failed\": %ld, \"retries\": %ld, \"ms_min\": %.2f, \"ms_p50\": %.2f, \"ms_p99\": %.2f, "
           "\"ms_max\": %.2f}\n",
           (unsigned long long)all_bytes, seconds, all_bytes / seconds / 1e6, all_blocks / seconds, answers / seconds,
           good, runs - good, retries, percentile(0), percentile(.5), percentile(.99), percentile(1));
    return good == runs ? 0 : 1;
}
