#include "api.h"

// Positions in the API struct.
enum {
  GET_ERROR_MESSAGE = 2,
  RUN = 9,
  CREATE_RUN_OPTIONS = 39,
  RUN_OPTIONS_SET_TERMINATE = 46,
  RUN_OPTIONS_UNSET_TERMINATE = 47,
  CREATE_TENSOR_AS_VALUE = 48,
  CREATE_TENSOR_WITH_DATA_AS_VALUE = 49,
  GET_TENSOR_MUTABLE_DATA = 51,
  FILL_STRING_TENSOR = 52,
  GET_STRING_TENSOR_DATA_LENGTH = 53,
  GET_STRING_TENSOR_CONTENT = 54,
  GET_TENSOR_ELEMENT_TYPE = 60,
  GET_DIMENSIONS_COUNT = 61,
  GET_DIMENSIONS = 62,
  GET_TENSOR_TYPE_AND_SHAPE = 65,
  GET_VALUE_TYPE = 67,
  CREATE_MEMORY_INFO = 68,
  CREATE_CPU_MEMORY_INFO = 69,
  GET_DEFAULT_ALLOCATOR = 78,
  GET_VALUE = 80,
  GET_VALUE_COUNT = 81,
  CREATE_VALUE = 82,
  RELEASE_STATUS = 93,
  RELEASE_MEMORY_INFO = 94,
  RELEASE_VALUE = 96,
  RELEASE_RUN_OPTIONS = 97,
  RELEASE_TENSOR_TYPE_AND_SHAPE = 99,
  GET_AVAILABLE_PROVIDERS = 125,
  RELEASE_AVAILABLE_PROVIDERS = 126,
  CREATE_ALLOCATOR = 131,
  RELEASE_ALLOCATOR = 132,
  RUN_WITH_BINDING = 133,
  CREATE_BINDING = 134,
  RELEASE_BINDING = 135,
  BIND_INPUT = 136,
  BIND_OUTPUT = 137,
  HAS_VALUE = 192,
};

static void *const *api;

// CALL calls the function at a position; every argument type must be spelled
// as the C API declares it, up to the kind of pointer.
#define CALL(position, types, ...) ((void *(*) types)api[position])(__VA_ARGS__)
#define FREE(position, object) ((void (*)(void *))api[position])(object)

const char *base_version(void *get_api_base) {
  const api_base *base = ((const api_base *(*)(void))get_api_base)();
  return base == NULL ? NULL : base->version();
}

int base_use(void *get_api_base, uint32_t version) {
  const api_base *base = ((const api_base *(*)(void))get_api_base)();
  api = base == NULL ? NULL : (void *const *)base->get_api(version);
  return api != NULL;
}

const char *status_text(void *status) { return ((const char *(*)(void *))api[GET_ERROR_MESSAGE])(status); }
void status_free(void *status) { FREE(RELEASE_STATUS, status); }

void *memory_cpu(void **out) {
  const int arena_allocator = 1, default_memory = 0;
  return CALL(CREATE_CPU_MEMORY_INFO, (int, int, void **), arena_allocator, default_memory, out);
}

void *value_over(void *memory, void *data, size_t bytes, const int64_t *dims, size_t rank, int type, void **out) {
  static char none; // empty tensors need some address too
  if (data == NULL) data = &none;
  return CALL(CREATE_TENSOR_WITH_DATA_AS_VALUE, (void *, void *, size_t, const int64_t *, size_t, int, void **),
              memory, data, bytes, dims, rank, type, out);
}

void *allocator_new(void *session, const char *device, int id, void **out) {
  const int arena_allocator = 1, default_memory = 0;
  void *memory;
  void *status = CALL(CREATE_MEMORY_INFO, (const char *, int, int, int, void **), device, arena_allocator, id,
                      default_memory, &memory);
  if (status != NULL) return status;
  status = CALL(CREATE_ALLOCATOR, (void *, void *, void **), session, memory, out);
  FREE(RELEASE_MEMORY_INFO, memory);
  return status;
}

void allocator_free(void *allocator) { FREE(RELEASE_ALLOCATOR, allocator); }

void *value_in(void *allocator, const int64_t *dims, size_t rank, int type, void **out) {
  return CALL(CREATE_TENSOR_AS_VALUE, (void *, const int64_t *, size_t, int, void **), allocator, dims, rank, type, out);
}

void *value_strings(const char *const *texts, size_t n, const int64_t *dims, size_t rank, void **out) {
  const int string_type = 8;
  void *allocator;
  void *status = CALL(GET_DEFAULT_ALLOCATOR, (void **), &allocator);
  if (status != NULL) return status;
  status = CALL(CREATE_TENSOR_AS_VALUE, (void *, const int64_t *, size_t, int, void **), allocator, dims, rank,
                string_type, out);
  if (status != NULL || n == 0) return status;
  status = CALL(FILL_STRING_TENSOR, (void *, const char *const *, size_t), *out, texts, n);
  if (status != NULL) value_free(*out);
  return status;
}

void *value_present(void *value, int *out) { return CALL(HAS_VALUE, (void *, int *), value, out); }

void *value_kind(void *value, int *out) { return CALL(GET_VALUE_TYPE, (void *, int *), value, out); }

void *value_info(void *value, int *type, size_t *rank, int64_t *dims, size_t max_rank) {
  void *info;
  void *status = CALL(GET_TENSOR_TYPE_AND_SHAPE, (void *, void **), value, &info);
  if (status != NULL) return status;
  status = CALL(GET_TENSOR_ELEMENT_TYPE, (void *, int *), info, type);
  if (status == NULL) status = CALL(GET_DIMENSIONS_COUNT, (void *, size_t *), info, rank);
  if (status == NULL && *rank <= max_rank)
    status = CALL(GET_DIMENSIONS, (void *, int64_t *, size_t), info, dims, *rank);
  FREE(RELEASE_TENSOR_TYPE_AND_SHAPE, info);
  return status;
}

void *value_data(void *value, void **out) { return CALL(GET_TENSOR_MUTABLE_DATA, (void *, void **), value, out); }

void *value_text_length(void *value, size_t *out) {
  return CALL(GET_STRING_TENSOR_DATA_LENGTH, (void *, size_t *), value, out);
}

void *value_text(void *value, void *text, size_t bytes, size_t *offsets, size_t n) {
  return CALL(GET_STRING_TENSOR_CONTENT, (void *, void *, size_t, size_t *, size_t), value, text, bytes, offsets, n);
}

void value_free(void *value) { FREE(RELEASE_VALUE, value); }

void *list_new(void *const *elems, size_t n, int kind, void **out) {
  return CALL(CREATE_VALUE, (void *const *, size_t, int, void **), elems, n, kind, out);
}

void *list_count(void *value, size_t *out) { return CALL(GET_VALUE_COUNT, (void *, size_t *), value, out); }

void *list_element(void *value, int i, void **out) {
  void *allocator;
  void *status = CALL(GET_DEFAULT_ALLOCATOR, (void **), &allocator);
  if (status != NULL) return status;
  return CALL(GET_VALUE, (void *, int, void *, void **), value, i, allocator, out);
}

void *options_new(void **out) { return CALL(CREATE_RUN_OPTIONS, (void **), out); }

void *options_terminate(void *options, int on) {
  return CALL(on ? RUN_OPTIONS_SET_TERMINATE : RUN_OPTIONS_UNSET_TERMINATE, (void *), options);
}

void options_free(void *options) { FREE(RELEASE_RUN_OPTIONS, options); }

void *session_run(void *session, void *options, const char *const *in_names, void *const *in, size_t n_in,
                  const char *const *out_names, size_t n_out, void **out) {
  return CALL(RUN,
              (void *, void *, const char *const *, void *const *, size_t, const char *const *, size_t, void **),
              session, options, in_names, in, n_in, out_names, n_out, out);
}

void *binding_new(void *session, void **out) { return CALL(CREATE_BINDING, (void *, void **), session, out); }

void *binding_input(void *binding, const char *name, void *value) {
  return CALL(BIND_INPUT, (void *, const char *, void *), binding, name, value);
}

void *binding_output(void *binding, const char *name, void *value) {
  return CALL(BIND_OUTPUT, (void *, const char *, void *), binding, name, value);
}

void *binding_run(void *session, void *options, void *binding) {
  return CALL(RUN_WITH_BINDING, (void *, void *, void *), session, options, binding);
}

void binding_free(void *binding) { FREE(RELEASE_BINDING, binding); }

void *providers(char ***names, int *n) { return CALL(GET_AVAILABLE_PROVIDERS, (char ***, int *), names, n); }

void providers_free(char **names, int n) {
  void *status = CALL(RELEASE_AVAILABLE_PROVIDERS, (char **, int), names, n);
  if (status != NULL) status_free(status);
}
