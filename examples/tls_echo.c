/* SPDX-License-Identifier: MIT */
/*
 * An echo server that speaks TLS, by OpenSSL, and clients of it: some that behave, one
 * that speaks no TLS, and one that stalls. With an address, `tls_echo :7443`, it serves
 * there until it is ended; `openssl s_client -connect 127.0.0.1:7443` is a client.
 *
 * OpenSSL works on memory here (BIO_s_mem), and what it has written and wants to read is
 * moved by weft_send() and weft_recv(). A BIO that calls weft by itself is less code, but
 * then tasklets switch in the middle of SSL_read(). OpenSSL keeps one queue of errors for
 * the OS thread, so that SSL_get_error() would find errors of other tasklets there. As it
 * is, no call of OpenSSL switches, and what it says is read right after it.
 *
 * A handshake has a deadline, and so has each message. It is a scope around the calls of
 * weft: OpenSSL knows nothing of it.
 */
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

enum {
	CLIENTS = 3,
	ROUNDS = 50,
	MESSAGE = 4000,
	PIECE = 4096, /* of what the socket has */

	/* A handshake of OpenSSL 3.0 took up to 8 KiB, with EC, Ed25519 and RSA
	 * keys, and a client here 12 more for its buffers. A provider or a callback
	 * of yours may take more. */
	STACK = 48 * 1024
};

static const char host[] = "localhost";

#define PAUSE (10 * WEFT_MILLISECOND)

/* How long a handshake may take, and a message with its answer, the wait for it
 * included. */
static int64_t patience = 10 * WEFT_SECOND, idle = 60 * WEFT_SECOND;

static void die(const char *what)
{
	fprintf(stderr, "%s failed\n", what);
	ERR_print_errors_fp(stderr);
	exit(EXIT_FAILURE);
}

/* --- a connection; it belongs to one tasklet at a time --- */

struct tls {
	int fd;
	SSL *ssl;
	BIO *in, *out; /* the ssl owns them */
};

static int tls_open(struct tls *t, SSL_CTX *context, int fd)
{
	*t = (struct tls){ .fd = fd, .ssl = SSL_new(context) };
	t->in = BIO_new(BIO_s_mem());
	t->out = BIO_new(BIO_s_mem());
	if (!t->ssl || !t->in || !t->out) {
		SSL_free(t->ssl);
		BIO_free(t->in);
		BIO_free(t->out);
		return -ENOMEM;
	}
	SSL_set_bio(t->ssl, t->in, t->out);
	return 0;
}

/* Sends what OpenSSL has written. */
static int tls_flush(struct tls *t)
{
	char *data;
	long n = BIO_get_mem_data(t->out, &data);
	ssize_t sent;

	if (n <= 0)
		return 0;
	sent = weft_send_full(t->fd, data, (size_t)n, 0);
	BIO_reset(t->out);
	return sent == n ? 0 : sent < 0 ? (int)sent : -EPIPE;
}

/* Receives something for OpenSSL to read. */
static int tls_fill(struct tls *t)
{
	char data[PIECE];
	ssize_t n = weft_recv(t->fd, data, sizeof data, 0);

	if (n <= 0)
		return n ? (int)n
			 : -ECONNRESET; /* it ended without a goodbye */
	return BIO_write(t->in, data, (int)n) == n ? 0 : -ENOMEM;
}

/* What to do after a call of OpenSSL that has returned @rc: 1, make it again; 0, the
 * peer has said goodbye; or a negative errno. */
static int tls_proceed(struct tls *t, int rc)
{
	int error = SSL_get_error(t->ssl, rc);
	int sent = tls_flush(t); /* also if it failed: it tells the peer why */

	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (error != SSL_ERROR_WANT_READ)
		return -EPROTO;
	if (sent == 0)
		sent = tls_fill(t);
	return sent ? sent : 1;
}

static int tls_handshake(struct tls *t)
{
	struct weft_deadline d;
	int rc;

	weft_deadline_begin(&d, weft_now() + patience);
	do {
		ERR_clear_error(); /* what others have left there */
		rc = SSL_do_handshake(t->ssl);
	} while (rc != 1 && (rc = tls_proceed(t, rc)) == 1);
	rc = rc == 1 ? tls_flush(t) : rc ? rc : -ECONNRESET;
	weft_deadline_end(&d);
	return rc;
}

/* Bytes read, 0 after the peer's goodbye, or a negative errno. */
static int tls_read(struct tls *t, void *data, int size)
{
	int n, rc;

	do {
		ERR_clear_error();
		n = SSL_read(t->ssl, data, size);
	} while (n <= 0 && (rc = tls_proceed(t, n)) == 1);
	return n > 0 ? n : rc;
}

/* 0 when all has been sent, or a negative errno. */
static int tls_write(struct tls *t, const void *data, int n)
{
	int done, rc;

	do {
		ERR_clear_error();
		done = SSL_write(t->ssl, data, n);
	} while (done <= 0 && (rc = tls_proceed(t, done)) == 1);
	if (done > 0)
		return tls_flush(t);
	return rc ? rc : -EPIPE;
}

/* Says goodbye, if the connection is well, and closes. */
static int tls_close(struct tls *t, int rc)
{
	if (rc == 0) {
		ERR_clear_error();
		SSL_shutdown(t->ssl);
		rc = tls_flush(t);
	}
	SSL_free(t->ssl);
	weft_close(t->fd);
	return rc;
}

/* --- the server --- */

static SSL_CTX *server_context;

static void complain(const char *what, int rc)
{
	if (rc == -ETIMEDOUT)
		printf("server: %s takes too long\n", what);
	else if (rc == -EPROTO)
		printf("server: %s is no TLS, or not for us\n", what);
}

/* As tls_read() if there is no more to come, else 1. */
static int echo_one(struct tls *t)
{
	char data[MESSAGE];
	struct weft_deadline d;
	int n, rc = 0;

	weft_deadline_begin(&d, weft_now() + idle);
	n = tls_read(t, data, sizeof data);
	if (n > 0)
		rc = tls_write(t, data, n);
	weft_deadline_end(&d);
	return n <= 0 ? n : rc ? rc : 1;
}

static int serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct tls t;
	int rc = tls_open(&t, server_context, fd);

	if (rc) {
		weft_close(fd);
		return rc;
	}
	SSL_set_accept_state(t.ssl);
	rc = tls_handshake(&t);
	complain("a handshake", rc);
	if (rc)
		return tls_close(&t, rc);
	do
		rc = echo_one(&t);
	while (rc > 0);
	complain("a message", rc);
	return tls_close(&t, rc);
}

/* Without descriptors or memory for a connection, it waits for others to end. */
static int accept_next(int listener)
{
	int fd, rc = 0;

	do {
		fd = weft_accept(listener, NULL, NULL);
		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS ||
		    fd == -ENOMEM)
			rc = weft_sleep(PAUSE);
		else if (fd != -ECONNABORTED)
			return fd;
	} while (rc == 0);
	return rc;
}

static int accept_all(void *arg)
{
	const struct weft_tasklet_options options = { .stack_size = STACK };
	int fd;

	while ((fd = accept_next(*(int *)arg)) >= 0)
		if (weft_tasklet_is_null(weft_spawn_with(&options, serve,
							 (void *)(intptr_t)fd)))
			weft_close(fd);
	return fd;
}

/* --- the clients --- */

static SSL_CTX *client_context;
static char address[32];

static int connect_tls(struct tls *t)
{
	int fd = weft_dial(address);
	int rc;

	if (fd < 0)
		return fd;
	rc = tls_open(t, client_context, fd);
	if (rc) {
		weft_close(fd);
		return rc;
	}
	SSL_set_connect_state(t->ssl);
	SSL_set_tlsext_host_name(t->ssl, host);
	SSL_set1_host(t->ssl, host); /* the certificate has to be for it */
	rc = tls_handshake(t);
	return rc ? tls_close(t, rc) : 0;
}

/* Sends a message, and reads until as much has come back. */
static int exchange(struct tls *t, const char *message, int n)
{
	char answer[MESSAGE];
	int got = 0;
	int rc = tls_write(t, message, n);

	while (rc == 0 && got < n) {
		int m = tls_read(t, answer + got, n - got);

		if (m <= 0)
			rc = m ? m : -ECONNRESET;
		else
			got += m;
	}
	if (rc == 0 && memcmp(message, answer, (size_t)n) != 0)
		rc = -EBADMSG;
	return rc;
}

struct client {
	int number;
	int rc;
};

static int talk(void *arg)
{
	struct client *c = arg;
	char message[MESSAGE];
	struct tls t;

	c->rc = connect_tls(&t);
	if (c->rc)
		return c->rc;
	for (int i = 0; c->rc == 0 && i < ROUNDS; i++) {
		memset(message, 'a' + (c->number + i) % 26, MESSAGE);
		c->rc = exchange(&t, message, MESSAGE);
	}
	c->rc = tls_close(&t, c->rc);
	return c->rc;
}

/* Says this, and waits for what the server does. */
static void misbehave(const char *who, const char *words)
{
	char answer[64];
	int fd = weft_dial(address);

	weft_send(fd, words, strlen(words), 0);
	while (weft_recv(fd, answer, sizeof answer, 0) > 0)
		;
	printf("%s is cut off\n", who);
	weft_close(fd);
}

static void say_nothing(void)
{
	char answer[64];
	struct tls t;
	int rc = connect_tls(&t);

	if (rc == 0)
		tls_close(&t, tls_read(&t, answer, sizeof answer));
	printf("who says nothing is cut off\n");
}

static void demonstrate(int listener)
{
	const struct weft_tasklet_options options = { .stack_size = STACK };
	struct client clients[CLIENTS];
	weft_tasklet talking[CLIENTS];
	weft_tasklet server = weft_spawn(accept_all, &listener);
	struct sockaddr_in name;
	socklen_t length = sizeof name;

	getsockname(listener, (struct sockaddr *)&name, &length);
	snprintf(address, sizeof address, ":%d", ntohs(name.sin_port));
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){ i + 1, -ENOMEM };
		talking[i] = weft_spawn_with(&options, talk, &clients[i]);
	}
	for (int i = 0; i < CLIENTS; i++) {
		weft_tasklet_join(talking[i]);
		printf("client %d: %s\n", i + 1,
		       clients[i].rc ? strerror(-clients[i].rc)
				     : "all came back");
	}
	misbehave("who speaks no TLS", "GET / HTTP/1.0\r\n\r\n");
	patience = WEFT_SECOND / 5;              /* or the example would last */
	misbehave("who stalls", "\026\003\001"); /* as a handshake begins */
	patience = 10 * WEFT_SECOND;
	idle = WEFT_SECOND / 5;
	say_nothing();
	weft_tasklet_kill(server, WEFT_PENDING);
	weft_run(); /* the server's tasklets end */
}

/* --- keys --- */

/* A certificate for the host, signed by itself and made in memory. */
static X509 *self_signed(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_NAME_new();
	char alternative[64];
	X509_EXTENSION *extension;

	snprintf(alternative, sizeof alternative, "DNS:%s", host);
	extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
					alternative);
	if (!x || !name || !extension ||
	    !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
					(const unsigned char *)host, -1, -1,
					0) ||
	    !X509_set_version(x, X509_VERSION_3) ||
	    !ASN1_INTEGER_set(X509_get_serialNumber(x), 1) ||
	    !X509_gmtime_adj(X509_getm_notBefore(x), -3600) ||
	    !X509_gmtime_adj(X509_getm_notAfter(x), 24 * 3600) ||
	    !X509_set_subject_name(x, name) || !X509_set_issuer_name(x, name) ||
	    !X509_add_ext(x, extension, -1) || !X509_set_pubkey(x, key) ||
	    !X509_sign(x, key, EVP_sha256()))
		die("the certificate");
	X509_EXTENSION_free(extension);
	X509_NAME_free(name);
	return x;
}

static void prepare(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate;

	if (!key)
		die("the key");
	certificate = self_signed(key);
	server_context = SSL_CTX_new(TLS_server_method());
	client_context = SSL_CTX_new(TLS_client_method());
	if (!server_context || !client_context ||
	    SSL_CTX_use_certificate(server_context, certificate) != 1 ||
	    SSL_CTX_use_PrivateKey(server_context, key) != 1 ||
	    X509_STORE_add_cert(SSL_CTX_get_cert_store(client_context),
				certificate) != 1)
		die("the set-up");
	SSL_CTX_set_verify(client_context, SSL_VERIFY_PEER, NULL);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

int main(int argc, char **argv)
{
	const char *where = argc > 1 ? argv[1] : ":0";
	int listener = weft_listen(where, SOMAXCONN);

	if (listener < 0) {
		const char *wrong = weft_address_error(where);

		fprintf(stderr, "%s: %s\n", where,
			wrong ? wrong : strerror(-listener));
		return EXIT_FAILURE;
	}
	prepare();
	if (argc > 1)
		accept_all(&listener); /* until the process is ended */
	else
		demonstrate(listener);
	weft_close(listener);
	SSL_CTX_free(client_context);
	SSL_CTX_free(server_context);
	return argc > 1 ? EXIT_FAILURE : EXIT_SUCCESS;
}
