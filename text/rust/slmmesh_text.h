/* The C edge of the Rust archive (src/ffi.rs).
 *
 * Functions that can fail return 0 (ok), 1 (the caller's input is at fault) or 2 (a panic here: a bug) and, unless 0,
 * write a short message to the last parameter, which the caller frees. Nothing else is written then. No panic and no
 * exception crosses. Pointers must be valid; texts need not be valid UTF-8 (that is a 1). A tokenizer and a template
 * may be shared by threads; a stream belongs to one at a time. A stream may outlive its tokenizer. */
#ifndef SLMMESH_TEXT_H_
#define SLMMESH_TEXT_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct slmmesh_text_tokenizer slmmesh_text_tokenizer;
typedef struct slmmesh_text_stream slmmesh_text_stream;
typedef struct slmmesh_text_template slmmesh_text_template;

/* Borrowed bytes. `data` may be null where `size` is 0. */
typedef struct {
  const char* data;
  size_t size;
} slmmesh_text_view;

/* What Rust allocated, and Rust frees. */
typedef struct {
  char* data;
  size_t size;
  size_t capacity;
} slmmesh_text_bytes;

typedef struct {
  uint32_t* data;
  size_t size;
  size_t capacity;
} slmmesh_text_ids;

void slmmesh_text_free_bytes(slmmesh_text_bytes bytes);
void slmmesh_text_free_ids(slmmesh_text_ids ids);

int slmmesh_text_tokenizer_create(slmmesh_text_view json, const slmmesh_text_tokenizer** out,
                                  slmmesh_text_bytes* error);
void slmmesh_text_tokenizer_destroy(const slmmesh_text_tokenizer* tokenizer);
int slmmesh_text_encode(const slmmesh_text_tokenizer* tokenizer, slmmesh_text_view text, bool add_special_tokens,
                        slmmesh_text_ids* ids, slmmesh_text_bytes* error);
int slmmesh_text_decode(const slmmesh_text_tokenizer* tokenizer, const uint32_t* ids, size_t ids_size,
                        bool skip_special_tokens, slmmesh_text_bytes* text_or_error);
/* The view lives as long as the tokenizer. */
slmmesh_text_view slmmesh_text_token_bytes(const slmmesh_text_tokenizer* tokenizer, uint32_t id);
bool slmmesh_text_is_special(const slmmesh_text_tokenizer* tokenizer, uint32_t id);
/* False: no such token, and `id` is untouched. */
bool slmmesh_text_token_id(const slmmesh_text_tokenizer* tokenizer, slmmesh_text_view token, uint32_t* id);
uint32_t slmmesh_text_vocabulary_size(const slmmesh_text_tokenizer* tokenizer);

slmmesh_text_stream* slmmesh_text_stream_create(const slmmesh_text_tokenizer* tokenizer, bool skip_special_tokens);
void slmmesh_text_stream_destroy(slmmesh_text_stream* stream);
/* The view lives until the stream's next call. */
int slmmesh_text_stream_push(slmmesh_text_stream* stream, uint32_t id, slmmesh_text_view* text,
                             slmmesh_text_bytes* error);
int slmmesh_text_stream_finish(slmmesh_text_stream* stream, slmmesh_text_view* text, slmmesh_text_bytes* error);

int slmmesh_text_template_create(slmmesh_text_view source, slmmesh_text_view bos_token, slmmesh_text_view eos_token,
                                 slmmesh_text_template** out, slmmesh_text_bytes* error);
void slmmesh_text_template_destroy(slmmesh_text_template* chat_template);
int slmmesh_text_render(const slmmesh_text_template* chat_template, slmmesh_text_view messages,
                        bool add_generation_prompt, slmmesh_text_view extra, slmmesh_text_bytes* text_or_error);
int slmmesh_text_render_tokens(const slmmesh_text_template* chat_template, const slmmesh_text_tokenizer* tokenizer,
                               slmmesh_text_view messages, bool add_generation_prompt, slmmesh_text_view extra,
                               slmmesh_text_ids* ids, slmmesh_text_bytes* error);

#ifdef __cplusplus
}
#endif

#endif /* SLMMESH_TEXT_H_ */
