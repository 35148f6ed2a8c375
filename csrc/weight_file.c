/* Reading the flat file of weights. Nothing in it is believed: no byte past its end is looked at, whatever it says.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "weight_file.h"
#include <stdio.h>
#include <string.h>
#include "base/arena.h"

/* The last bytes give away a transfer as text, which changes ends of lines. */
static const unsigned char magic[8] = {0x89, 'F', 'L', 'W', '\r', '\n', 0x1a, '\n'};
enum { OF_REALS = 1, OF_INTEGERS = 2, ORDER = 0x01020304, OTHER_ORDER = 0x04030201 }; /* the first two are versions */
enum { HAS_BIAS = 1, HAS_PEEPHOLES = 2, IS_COUPLED = 4, IS_BATCH_FIRST = 8, HAS_OFFSETS = 16, IS_SUMMED = 32 };

typedef struct {
  uint32_t kind, zero;
  double alpha, beta;
} stored_activation;

/* the beginning of a file, in the byte order of the machine; as it stands here there are no holes in it */
typedef struct {
  unsigned char magic[8];
  uint32_t order, version;
  uint64_t size;
  uint32_t checksum, dtype; /* the checksum is that of all that follows it */
  uint64_t input_size, hidden_size, proj_size, num_layers;
  uint32_t directions, flags;
  stored_activation gate, candidate, cell;
  uint32_t clip_at, weights;
  double clip, dropout;
  uint64_t zeros[3];
} header;
enum { SUMMED = offsetof(header, dtype) };
_Static_assert(sizeof(header) == 192 && sizeof(header) % FL_LINE == 0, "docs/embedding.md has the offsets");

/* CRC-32 as in zlib: of the polynomial 0xedb88320, least bit first */
static uint32_t checksum(const unsigned char *data, size_t size) {
  uint32_t table[256];
  for (uint32_t byte = 0; byte < 256; byte++) {
    table[byte] = byte;
    for (int bit = 0; bit < 8; bit++) table[byte] = (table[byte] >> 1) ^ (table[byte] & 1 ? 0xedb88320u : 0);
  }
  uint32_t sum = UINT32_MAX;
  for (size_t k = 0; k < size; k++) sum = (sum >> 8) ^ table[(sum ^ data[k]) & 0xff];
  return ~sum;
}

/* ---- sizes ------------------------------------------------------------------------------------------------------ */

/* where the arrays of a layer in one direction are, and who points to them */
typedef struct {
  const fl_file *file;
  fl_arena arena;
  fl_weights *weights;
  fl_integers *integers; /* room for three */
} layout;

/* Either of the two is written. */
static void lay_out_matrix(layout *l, size_t rows, size_t columns, const void **reals, const fl_integers **integers) {
  size_t n;
  if (!fl_multiply(rows, columns, &n)) {
    l->arena.overflow = 1;
    return;
  }
  if (!l->file->integers) {
    *reals = fl_carve(&l->arena, n, l->file->config.dtype / 8);
    return;
  }
  fl_integers *const made = l->integers++;
  made->values = fl_carve(&l->arena, n, 1);
  made->scales = fl_carve(&l->arena, rows, sizeof *made->scales);
  made->offsets = l->file->offsets ? fl_carve(&l->arena, rows, 1) : NULL;
  made->is_signed = 1;
  *integers = made;
}

/* The arrays of a layer in one direction, each on a line of its own; an arena at NULL measures. */
static fl_arena lay_out(layout l, size_t layer) {
  const fl_config *const config = &l.file->config;
  const size_t H = config->hidden_size, P = config->proj_size, R = P ? P : H, real = config->dtype / 8;
  fl_weights *const w = l.weights;
  *w = (fl_weights){.weight_ih = NULL};
  lay_out_matrix(&l, 4 * H, layer ? config->directions * R : config->input_size, &w->weight_ih, &w->integers_ih);
  lay_out_matrix(&l, 4 * H, R, &w->weight_hh, &w->integers_hh);
  if (l.file->bias) w->bias_ih = fl_carve(&l.arena, 4 * H, real);
  if (l.file->bias) w->bias_hh = fl_carve(&l.arena, 4 * H, real);
  if (P) lay_out_matrix(&l, P, H, &w->weight_hr, &w->integers_hr);
  if (l.file->form.peepholes) w->weight_ph = fl_carve(&l.arena, 3 * H, real);
  return l.arena;
}

/* Do the header and the arrays make exactly this size? */
static int fills(const fl_file *file, size_t size) {
  fl_weights ignored;
  fl_integers integers[3];
  size_t layers;
  const layout measured = {.file = file, .weights = &ignored, .integers = integers};
  const fl_arena first = lay_out(measured, 0), other = lay_out(measured, 1);
  if (first.overflow || other.overflow || first.used > size) return 0;
  if (!fl_multiply(file->config.num_layers - 1, other.used, &layers) || layers > size) return 0;
  const size_t arrays = size - sizeof(header), D = file->config.directions;
  return arrays % D == 0 && arrays / D == first.used + layers;
}

/* ---- the header ------------------------------------------------------------------------------------------------- */

/* what the first bytes tell, `got` of which are there */
static fl_status check_beginning(const header *h, size_t got) {
  if (got < sizeof magic || memcmp(h->magic, magic, sizeof magic)) return FL_ERROR_FORMAT;
  if (got < sizeof *h) return FL_ERROR_LENGTH;
  if (h->order == OTHER_ORDER) return FL_ERROR_ORDER;
  if (h->order != ORDER) return FL_ERROR_FORMAT;
  return h->version == OF_REALS || h->version == OF_INTEGERS ? FL_OK : FL_ERROR_VERSION;
}

static int is_size(uint64_t n) {
  return n <= (uint64_t)PTRDIFF_MAX / 8;
}

/* Integers are those of float32 alone, and of types that have them. */
static int is_kind(const header *h) {
  const uint32_t all = HAS_BIAS | HAS_PEEPHOLES | IS_COUPLED | IS_BATCH_FIRST | IS_SUMMED;
  const uint32_t flags = all | (h->version == OF_INTEGERS ? HAS_OFFSETS : 0);
  if (h->flags & ~flags) return 0;
  if (h->version == OF_REALS) return 1;
  return h->dtype == FL_FLOAT32 && (h->weights == FL_WEIGHTS_INT8 || h->weights == FL_WEIGHTS_INT8_FAST);
}

/* what nothing is told by has to be zero, so that a later version can tell something by it */
static int is_sound(const header *h) {
  if (h->dtype != FL_FLOAT32 && h->dtype != FL_FLOAT64) return 0;
  if (!is_size(h->input_size) || !is_size(h->hidden_size) || !is_size(h->num_layers)) return 0;
  if (!h->input_size || !h->hidden_size || !h->num_layers || h->proj_size >= h->hidden_size) return 0;
  if (h->directions < 1 || h->directions > 2 || !is_kind(h)) return 0;
  if (!(h->dropout >= 0 && h->dropout <= 1)) return 0;
  return !(h->gate.zero | h->candidate.zero | h->cell.zero) && !(h->zeros[0] | h->zeros[1] | h->zeros[2]);
}

static fl_activation activation_of(const stored_activation *stored) {
  return (fl_activation){(fl_activation_kind)stored->kind, stored->alpha, stored->beta};
}

fl_status fl_parse_file(const void *data, size_t size, fl_file *file) {
  header h = {.version = 0};
  const size_t got = size < sizeof h ? size : sizeof h;
  memcpy(&h, data, got);
  const fl_status status = check_beginning(&h, got);
  if (status != FL_OK) return status;
  if (h.size != size) return FL_ERROR_LENGTH;
  if (h.checksum != checksum((const unsigned char *)data + SUMMED, size - SUMMED)) return FL_ERROR_DAMAGED;
  if (!is_sound(&h)) return FL_ERROR_CONTENT;
  file->config = (fl_config){.dtype = (fl_dtype)h.dtype,
                             .input_size = (size_t)h.input_size,
                             .hidden_size = (size_t)h.hidden_size,
                             .proj_size = (size_t)h.proj_size,
                             .num_layers = (size_t)h.num_layers,
                             .directions = h.directions,
                             .weights = (fl_weight_type)h.weights};
  file->form = (fl_form){.gate = activation_of(&h.gate),
                         .candidate = activation_of(&h.candidate),
                         .cell = activation_of(&h.cell),
                         .peepholes = (h.flags & HAS_PEEPHOLES) != 0,
                         .coupled = (h.flags & IS_COUPLED) != 0,
                         .clip_at = (fl_clip)h.clip_at,
                         .clip = h.clip,
                         .summed = (h.flags & IS_SUMMED) != 0};
  file->bias = (h.flags & HAS_BIAS) != 0;
  file->integers = h.version == OF_INTEGERS;
  file->offsets = (h.flags & HAS_OFFSETS) != 0;
  return fills(file, size) ? FL_OK : FL_ERROR_CONTENT;
}

void fl_locate_weights(const void *data, const fl_file *file, fl_weights *weights, fl_integers *integers) {
  const size_t D = file->config.directions;
  char *at = (char *)data + sizeof(header); /* an arena's memory is not const; nothing is written */
  for (size_t k = 0; k < D * file->config.num_layers; k++) {
    layout l = {.file = file, .arena = {.at = at}, .weights = &weights[k], .integers = NULL};
    if (file->integers) l.integers = &integers[3 * k];
    at += lay_out(l, k / D).used;
  }
}

/* ---- paths ------------------------------------------------------------------------------------------------------ */

/* `wanted` bytes, of which the first are in *data already; memory grows with what comes, not with what is promised */
static fl_status read_rest(FILE *file, size_t wanted, size_t got, char **data) {
  for (size_t room = got; got < wanted;) {
    if (got == room) {
      room = room < wanted / 2 ? room * 2 : wanted;
      char *const more = realloc(*data, room);
      if (!more) return FL_ERROR_MEMORY;
      *data = more;
    }
    const size_t n = fread(*data + got, 1, room - got, file);
    if (!n) return ferror(file) ? FL_ERROR_FILE : FL_ERROR_LENGTH;
    got += n;
  }
  return fgetc(file) == EOF ? FL_OK : FL_ERROR_LENGTH;
}

/* What is not a file of ours is seen in the first bytes, before more are asked for: it may never end. */
static fl_status read_whole(FILE *file, char **data, size_t *size) {
  header h = {.version = 0};
  const size_t got = fread(&h, 1, sizeof h, file);
  if (ferror(file)) return FL_ERROR_FILE;
  const fl_status status = check_beginning(&h, got);
  if (status != FL_OK) return status;
  if (h.size < sizeof h || h.size > (uint64_t)PTRDIFF_MAX / 2) return FL_ERROR_LENGTH;
  *data = malloc(sizeof h);
  if (!*data) return FL_ERROR_MEMORY;
  memcpy(*data, &h, sizeof h);
  *size = (size_t)h.size;
  return read_rest(file, *size, sizeof h, data);
}

fl_status fl_read_file(const char *path, void **data, size_t *size) {
  char *read = NULL;
  FILE *const file = fopen(path, "rb");
  if (!file) return FL_ERROR_FILE;
  const fl_status status = read_whole(file, &read, size);
  fclose(file);
  if (status != FL_OK) {
    free(read);
    read = NULL;
  }
  *data = read;
  return status;
}
