/* A stereo effect as an audio host calls it: blocks of 64 frames at 48 kHz, and an LSTM stream for each channel.
 *
 * plugin_create may take its time. plugin_process and plugin_between run on the audio thread: they neither allocate nor
 * lock nor call the system, and touch no page that was not touched before.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef PLUGIN_H
#define PLUGIN_H

#include <stddef.h>

enum { BLOCK = 64, CHANNELS = 2, RATE = 48000 };

typedef struct plugin plugin;

/* NULL: there is not enough memory. A real one would read its trained weights here; these are drawn. */
plugin *plugin_create(void);
void plugin_destroy(plugin *p);

/* The callback: BLOCK frames of each channel. */
void plugin_process(plugin *p, const float *const in[CHANNELS], float *const out[CHANNELS]);

/* Between two callbacks, where the host leaves time: what the next block's step does not need its input for, so that
 * its answer takes half as long. No bit changes if it is left out. */
void plugin_between(plugin *p);

/* The same blocks as one sequence through one channel, off the audio thread: 0, or -1 without memory.
 *   in, out   [blocks][BLOCK] */
int plugin_offline(const plugin *p, size_t blocks, const float *in, float *out);

#endif
