/* SPDX-License-Identifier: MIT */
/*
 * How weft-echo answers, for ../server.h.
 */
#ifndef ECHO_SERVE_H
#define ECHO_SERVE_H

#include "../server.h"

/* A connection, by one call for each message, or as a stream. */
void serve_one_shot(struct server_connection *c);
void serve_stream(struct server_connection *c);

/* Datagrams, in the same two ways. */
void receive_datagrams(struct server_thread *t, int fd);
void stream_datagrams(struct server_thread *t, int fd);

int echo_begin(struct server_thread *t);
void echo_end(struct server_thread *t);
void echo_finish(struct server_thread *t);

#endif /* ECHO_SERVE_H */
