/* Weight files as docs/embedding.md describes them, made here independently of the library.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_TESTS_WEIGHT_FILE_H
#define FASTLSTM_TESTS_WEIGHT_FILE_H

#include "layer.h"

/* where things are in a header */
enum {
  AT_ORDER = 8,
  AT_VERSION = 12,
  AT_SIZE = 16,
  AT_CHECKSUM = 24,
  AT_DTYPE = 28,
  AT_INPUT_SIZE = 32,
  AT_HIDDEN_SIZE = 40,
  AT_PROJ_SIZE = 48,
  AT_NUM_LAYERS = 56,
  AT_DIRECTIONS = 64,
  AT_FLAGS = 68,
  AT_GATE = 72,
  AT_CANDIDATE = 96,
  AT_CELL = 120,
  AT_CLIP_AT = 144,
  AT_WEIGHTS = 148,
  AT_CLIP = 152,
  AT_DROPOUT = 160,
  AT_ZEROS = 168,
  HEADER = 192
};
static const unsigned char file_magic[8] = {0x89, 0x46, 0x4c, 0x57, 0x0d, 0x0a, 0x1a, 0x0a};

/* in the byte order of the machine, as a file for it is */
static inline void put32(unsigned char *data, size_t at, uint32_t value) {
  memcpy(data + at, &value, sizeof value);
}

static inline void put64(unsigned char *data, size_t at, uint64_t value) {
  memcpy(data + at, &value, sizeof value);
}

static inline void put_double(unsigned char *data, size_t at, double value) {
  memcpy(data + at, &value, sizeof value);
}

/* CRC-32, bit by bit */
static inline uint32_t crc(const unsigned char *data, size_t size) {
  uint32_t sum = UINT32_MAX;
  for (size_t k = 0; k < size; k++) {
    sum ^= data[k];
    for (int bit = 0; bit < 8; bit++) sum = (sum >> 1) ^ (sum & 1 ? 0xedb88320u : 0);
  }
  return ~sum;
}

/* make the first 28 bytes those of a file that is whole, whatever follows */
static inline void seal(unsigned char *data, size_t size, uint32_t version) {
  memcpy(data, file_magic, sizeof file_magic);
  put32(data, AT_ORDER, 0x01020304);
  put32(data, AT_VERSION, version);
  put64(data, AT_SIZE, size);
  put32(data, AT_CHECKSUM, crc(data + AT_DTYPE, size - AT_DTYPE));
}

static inline size_t padded(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

static inline size_t put_array(unsigned char *data, size_t at, const void *array, size_t bytes) {
  if (data) memcpy(data + at, array, bytes);
  return at + padded(bytes);
}

/* a matrix, or in its place its integers, scales and offsets, which lie [rows, columns] */
static inline size_t put_matrix(unsigned char *data, size_t at, const void *reals, const fl_integers *integers,
                                size_t rows, size_t columns, size_t real) {
  if (!integers) return put_array(data, at, reals, rows * columns * real);
  at = put_array(data, at, integers->values, rows * columns);
  at = put_array(data, at, integers->scales, rows * sizeof(float));
  return integers->offsets ? put_array(data, at, integers->offsets, rows) : at;
}

/* Writes a file, if `data` is there, whose bytes are zero; its size. */
static inline size_t write_file(const fl_config *config, const fl_weights *weights, unsigned char *data) {
  const size_t H = config->hidden_size, P = config->proj_size, R = P ? P : H, D = config->directions;
  const size_t real = config->dtype / 8;
  size_t at = HEADER;
  for (size_t k = 0; k < D * config->num_layers; k++) {
    const size_t width = k < D ? config->input_size : D * R;
    at = put_matrix(data, at, weights[k].weight_ih, weights[k].integers_ih, 4 * H, width, real);
    at = put_matrix(data, at, weights[k].weight_hh, weights[k].integers_hh, 4 * H, R, real);
    if (weights->bias_ih) at = put_array(data, at, weights[k].bias_ih, 4 * H * real);
    if (weights->bias_ih) at = put_array(data, at, weights[k].bias_hh, 4 * H * real);
    if (P) at = put_matrix(data, at, weights[k].weight_hr, weights[k].integers_hr, P, H, real);
    if (config->form && config->form->peepholes) at = put_array(data, at, weights[k].weight_ph, 3 * H * real);
  }
  if (!data) return at;
  put32(data, AT_DTYPE, config->dtype);
  put64(data, AT_INPUT_SIZE, config->input_size);
  put64(data, AT_HIDDEN_SIZE, H);
  put64(data, AT_PROJ_SIZE, P);
  put64(data, AT_NUM_LAYERS, config->num_layers);
  put32(data, AT_DIRECTIONS, (uint32_t)D);
  put32(data, AT_WEIGHTS, config->weights);
  put32(data, AT_CANDIDATE, FL_TANH);
  put32(data, AT_CELL, FL_TANH);
  uint32_t flags = weights->bias_ih != NULL;
  if (config->form) {
    const fl_form *const form = config->form;
    const fl_activation activations[] = {form->gate, form->candidate, form->cell};
    for (size_t k = 0; k < 3; k++) {
      put32(data, AT_GATE + 24 * k, activations[k].kind);
      put_double(data, AT_GATE + 24 * k + 8, activations[k].alpha);
      put_double(data, AT_GATE + 24 * k + 16, activations[k].beta);
    }
    flags |= (form->peepholes ? 2u : 0) | (form->coupled ? 4u : 0) | (form->summed ? 32u : 0);
    put32(data, AT_CLIP_AT, form->clip_at);
    put_double(data, AT_CLIP, form->clip);
  }
  const fl_integers *const integers = weights->integers_ih;
  if (integers && integers->offsets) flags |= 16u;
  put32(data, AT_FLAGS, flags);
  seal(data, at, integers ? 2 : 1);
  return at;
}

#endif
