/* SPDX-License-Identifier: MIT */
/*
 * Deadline scopes; see deadline.c.
 */
#ifndef WEFT__DEADLINE_H
#define WEFT__DEADLINE_H

struct scheduler;
struct weft_task;

/* Marks the scopes whose deadline has passed. */
void weft__look_at_scopes(struct weft_task *t);

/* Ends all scopes of a tasklet. */
void weft__drop_scopes(struct scheduler *s, struct weft_task *t);

void weft__free_scopes(struct scheduler *s);

#endif /* WEFT__DEADLINE_H */
