/* SPDX-License-Identifier: MIT */
/**
 * stdio - standard streams whose reads and writes block the tasklet
 */
#ifndef WEFT_STDIO_H
#define WEFT_STDIO_H

#include <stdio.h>
#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_fdopen - fdopen(3): a FILE for a descriptor of any kind
 * @mode: "r", "w", "a", "r+", "w+" or "a+", and more letters as for fdopen(3)
 *
 * fprintf(3), getline(3), fscanf(3) and all others work on the FILE, and block the
 * tasklet and never its thread, by weft_read() and weft_write(). fclose(3) closes the
 * descriptor as weft_close() does. fileno(3) fails. A socket raises no SIGPIPE. A FILE
 * for a socket, or for another descriptor without a position, can be read and written in
 * turns: fflush(3) after writing is all that it takes. It is fully buffered; setvbuf(3)
 * changes that. It is a FILE of bytes, as fwide(3) says: functions of wide characters, as
 * fgetwc(3), crash in glibc.
 *
 * An error is shown by ferror(3), and errno is positive: a call that is interrupted
 * sets ECANCELED, ETIMEDOUT or what was raised. Use clearerr(3) to go on after a raise
 * or a deadline. Nothing is lost then:
 *
 *  - getline(3) and fread(3) return what they had read, and the next call reads on.
 *  - What was accepted for the buffer and could not be written is kept, and goes before
 *    what is next written to the FILE, or is written by fclose(3). stdio has emptied its
 *    buffer: fflush(3) alone does not try again, so write something and flush that.
 *    fwrite(3) tells how much it has accepted; fprintf(3) does not. This holds for the
 *    buffer that the FILE has from the beginning, not for one of setvbuf(3).
 *
 * A FILE belongs to one tasklet at a time. stdio locks it for the OS thread, so two
 * tasklets of one thread are not kept apart. If one of them reads or writes while the
 * other is blocked in a call on the same FILE, the FILE has an error, with EBUSY; other
 * mixtures are not noticed. If a tasklet of another thread uses the FILE, its whole
 * thread waits. fflush(NULL) and exit(3) write all streams, and so can wait for
 * tasklets: close the streams before that.
 *
 * Return: the FILE, or NULL with errno:
 *   EBADF   @fd is not open
 *   EINVAL  @mode is none of the above, or does not fit the descriptor
 *   ENOMEM  there is no memory
 *   and the descriptor stays open.
 * Context: anywhere; never switches. The functions of stdio, on this FILE: any
 *   tasklet; may switch.
 */
WEFT_API FILE *weft_fdopen(int fd, const char *mode);

WEFT_END_DECLS

#endif /* WEFT_STDIO_H */
