/* The first program of a machine that has no other: it runs those in its root, one by one, says what they say and how
 * each ended, and turns the machine off.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SERIAL = 0x3f8, STATUS = SERIAL + 5, SENT = 0x40, SWITCH = 0x8900 };

/* straight to the serial port: that the emulator interrupts when it has room again is not relied on */
static void say(const char *text, size_t length) {
  for (size_t j = 0; j < length; j++) {
    outb((unsigned char)text[j], SERIAL);
    while (!(inb(STATUS) & SENT)) continue;
  }
}

/* run a program, say what it says, and return how it ended */
static int ran(char *const *command) {
  int ends[2], status = -1;
  if (pipe(ends)) return -1;
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    close(ends[0]);
    execv(command[0], command);
    _exit(127);
  }
  close(ends[1]);
  char text[256];
  for (ssize_t n; (n = read(ends[0], text, sizeof text)) > 0;) say(text, (size_t)n);
  close(ends[0]);
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void) {
  char *const commands[][4] = {{"/frozen_bits", "/frozen_bits.txt", "avx512"}, {"/check_kernels"}};
  if (iopl(3)) return 1;
  for (size_t k = 0; k < sizeof commands / sizeof commands[0]; k++) {
    char text[64];
    const int n = snprintf(text, sizeof text, "%s ended: %d\n", commands[k][0], ran(commands[k]));
    say(text, (size_t)n);
  }
  for (size_t k = 0; k < 2 * BUFSIZ; k++) say("\n", 1); /* Bochs loses the last that it has not written to its file */
  for (const char *letter = "Shutdown"; *letter; letter++) outb((unsigned char)*letter, SWITCH); /* Bochs knows it */
  for (;;) pause();
}
