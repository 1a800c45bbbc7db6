// Calls into ONNX Runtime's C API by position.
//
// The API is a struct of function pointers to which releases only ever append,
// so a position means the same function in every release that has it. Only the
// functions are named here that the Go binding cannot express.
#ifndef NINOX_CAPI_API_H
#define NINOX_CAPI_API_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  const void *(*get_api)(uint32_t version);
  const char *(*version)(void);
} api_base;

// All functions that can fail return a status, NULL where they succeed, to be
// freed with status_free.
const char *base_version(void *get_api_base);
int base_use(void *get_api_base, uint32_t version);

const char *status_text(void *status);
void status_free(void *status);

void *memory_cpu(void **out);
void *allocator_new(void *session, const char *device, int id, void **out);
void allocator_free(void *allocator);
void *value_in(void *allocator, const int64_t *dims, size_t rank, int type, void **out);
void *value_over(void *memory, void *data, size_t bytes, const int64_t *dims, size_t rank, int type, void **out);
void *value_strings(const char *const *texts, size_t n, const int64_t *dims, size_t rank, void **out);
void *value_present(void *value, int *out);
void *value_kind(void *value, int *out);
void *value_info(void *value, int *type, size_t *rank, int64_t *dims, size_t max_rank);
void *value_data(void *value, void **out);
void *value_text_length(void *value, size_t *out);
void *value_text(void *value, void *text, size_t bytes, size_t *offsets, size_t n);
void value_free(void *value);

void *list_new(void *const *elems, size_t n, int kind, void **out);
void *list_count(void *value, size_t *out);
void *list_element(void *value, int i, void **out);

void *options_new(void **out);
void *options_terminate(void *options, int on);
void options_free(void *options);

void *session_run(void *session, void *options, const char *const *in_names, void *const *in, size_t n_in,
                  const char *const *out_names, size_t n_out, void **out);

void *binding_new(void *session, void **out);
void *binding_input(void *binding, const char *name, void *value);
void *binding_output(void *binding, const char *name, void *value);
void *binding_run(void *session, void *options, void *binding);
void binding_free(void *binding);

void *providers(char ***names, int *n);
void providers_free(char **names, int n);

#endif
