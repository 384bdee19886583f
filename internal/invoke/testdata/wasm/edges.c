// A WASI command in C that goes to the limits: the event on standard input, the answer on standard output.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char event[7 << 20];
static int runs;

static int asks(const char *verb) {
	char want[40];
	snprintf(want, sizeof want, "\"do\":\"%s\"", verb);
	return strstr(event, want) != NULL;
}

static long number(const char *name) {
	char want[40];
	snprintf(want, sizeof want, "\"%s\":", name);
	char *at = strstr(event, want);
	return at ? atol(at + strlen(want)) : 0;
}

static void many(FILE *to, char c, long n) {
	char block[4096];
	memset(block, c, sizeof block);
	for (; n > 0; n -= sizeof block)
		fwrite(block, 1, n < (long)sizeof block ? n : sizeof block, to);
}

int main(void) {
	size_t length = fread(event, 1, sizeof event - 1, stdin);
	runs++;
	if (asks("size")) {
		putchar('"');
		many(stdout, 'a', number("size") - 2);
		putchar('"');
	} else if (asks("length")) {
		printf("%zu", length - strlen("{\"do\":\"length\",\"text\":\"\"}"));
	} else if (asks("eat")) {
		for (;;) {
			volatile char *more = malloc(1 << 20);
			if (!more)
				abort();
			for (int i = 0; i < 1 << 20; i += 4096)
				more[i] = 1;
		}
	} else if (asks("grow")) {
		while (__builtin_wasm_memory_grow(0, 1) != (size_t)-1)
			;
		printf("%zu", __builtin_wasm_memory_size(0) * 65536);
	} else if (asks("sleep")) {
		sleep(600);
	} else if (asks("log")) {
		fputs("head.", stderr);
		many(stderr, 'l', number("size") - 10);
		fputs(".tail", stderr);
		printf("0");
	} else if (asks("fail")) {
		printf("{\"errorType\":\"Own\",\"errorMessage\":\"words\"}");
		return 1;
	} else if (asks("exit")) {
		return 3;
	} else if (asks("draw")) {
		unsigned char random[16];
		getentropy(random, sizeof random);
		struct timespec now;
		clock_gettime(CLOCK_REALTIME, &now);
		printf("{\"Random\":\"");
		for (size_t i = 0; i < sizeof random; i++)
			printf("%02x", random[i]);
		printf("\",\"Runs\":%d,\"Clock\":%lld}", runs, (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	} else {
		printf("%d", runs);
	}
	return 0;
}
