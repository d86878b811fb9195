/* test_safetensors.c - files, checksums, growing text and the safetensors format. */
#include "tests/check.h"

#include "kernels/file.h"
#include "kernels/hash.h"
#include "kernels/mem.h"
#include "kernels/rng.h"
#include "kernels/safetensors.h"
#include "kernels/text.h"

#include <unistd.h>

static char folder[] = "/tmp/lk_safetensors_XXXXXX";
static char path[64], other[128];

static void hash_matches_the_published_function(void **state)
{
    static const struct {
        int n;
        uint64_t value;
    } known[] = {{0, 0xef46db3751d8e999u},   {1, 0x8a4127811b21e730u},  {3, 0x31d2363f52e564c9u},
                 {4, 0xb4d516af63f9c743u},   {8, 0xd5474d6ca50def58u},  {15, 0x646187cf6e75240du},
                 {31, 0xc025b4c3c4880c7au},  {32, 0x178ae25cee6f7994u}, {33, 0x4072a28263e977efu},
                 {63, 0x47948108b5ff3162u},  {64, 0xcf35552f599ba94du}, {100, 0x3a7fdc0febf6f5dcu},
                 {1000, 0x958e6485b0af5378u}};
    unsigned char data[1000];
    (void)state;
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++)
        for (int cut = 0; cut <= known[k].n; cut += 1 + known[k].n / 37) {
            lk_hash64 h;
            for (int i = 0; i < known[k].n; i++)
                data[i] = (unsigned char)(i * 7 + known[k].n);
            lk_hash64_start(&h);
            lk_hash64_add(&h, data, (size_t)cut);
            lk_hash64_add(&h, data + cut, (size_t)(known[k].n - cut));
            assert_true(lk_hash64_value(&h) == known[k].value);
        }
}

static void text_grows_and_quotes(void **state)
{
    lk_text t = {0};
    (void)state;
    CHECK_OK(lk_text_add(&t, "%d ", 7));
    CHECK_OK(lk_text_add_json(&t, "a\"\\\n\xc3\xa4\xff\xed\xa0\x80z"));
    assert_string_equal(t.at, "7 \"a\\\"\\\\\\u000a\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                              "\xef\xbf\xbdz\"");
    for (int i = 0; i < 1000; i++)
        CHECK_OK(lk_text_add(&t, "%s", "0123456789"));
    assert_int_equal(strlen(t.at), t.n);
    lk_text_free(&t);
}

static char *slurp(const char *from, size_t *n)
{
    FILE *f = fopen(from, "rb");
    char *data = NULL;
    *n = 0;
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    data = malloc(*n + 1);
    assert_int_equal(fread(data, 1, *n, f), *n);
    data[*n] = '\0';
    fclose(f);
    return data;
}

static void spill(const char *to, const void *data, size_t n)
{
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static void a_replaced_file_is_old_or_new(void **state)
{
    size_t n = 0;
    char *text;
    (void)state;
    spill(path, "old", 3);
    for (int at = 1; at < 100; at++) {
        lk_replace f = {0};
        lk_status st;
        lk_file_fail_after(at);
        st = lk_replace_open(&f, path);
        for (int i = 0; st == LK_OK && i < 5000; i++)
            fprintf(f.stream, "%d\n", i);
        if (st == LK_OK)
            st = lk_replace_commit(&f);
        lk_replace_drop(&f);
        text = slurp(path, &n);
        assert_true((n == 3 && strcmp(text, "old") == 0) || (n > 1000 && text[n - 1] == '\n'));
        free(text);
        sprintf(other, "%s.part", path);
        assert_int_not_equal(access(other, F_OK), 0);
        if (!lk_file_fault_fired()) {
            CHECK_OK(st);
            assert_in_range(at, 5, 50);
            lk_file_fail_after(0);
            return;
        }
        CHECK_FAILS(st, LK_E_IO);
    }
    fail_msg("the hook never stopped firing");
}

/* A list with every element type, odd and empty shapes, names that need escapes. */
#define MOST 9
static unsigned char numbers[MOST][64 * 8];
static lk_safetensor list[MOST];
static const lk_safetensors_text texts[] = {
    {"config", "steps: 3\nname: \"\xc3\xa4\"\n"}, {"format", "pt"}, {"", ""}};

static void fill_list(void)
{
    static const char *const names[MOST] = {
        "f32", "bf16", "i32", "z.\"\\\t\xf0\x9f\x8e\xb5", "f16", "a.i64", "u8", "bool", "empty"};
    const lk_shape shapes[MOST] = {LK_SHAPE(3, 5),       LK_SHAPE(7), LK_SHAPE(1, 2, 3, 1, 2, 1),
                                   lk_shape_of(0, NULL), LK_SHAPE(3), LK_SHAPE(2, 2),
                                   LK_SHAPE(13),         LK_SHAPE(5), LK_SHAPE(4, 0, 3)};
    for (int i = 0; i < MOST; i++) {
        list[i] = (lk_safetensor){names[i], (lk_dtype)(i % LK_N_DTYPES), shapes[i], numbers[i]};
        for (int k = 0; k < (int)sizeof numbers[0]; k++)
            numbers[i][k] =
                (unsigned char)(i == 7 ? k & 1 : lk_rng_u32(5, (uint64_t)i, (uint64_t)k) & 0x3f);
    }
}

static void what_is_written_is_read(void **state)
{
    lk_safetensors *f = NULL;
    size_t n = 0, again = 0;
    char *bytes, *same;
    (void)state;
    fill_list();
    CHECK_OK(lk_safetensors_write(path, MOST, list, 3, texts, NULL, NULL));
    CHECK_OK(lk_safetensors_open(&f, path));
    assert_int_equal(lk_safetensors_n(f), MOST);
    assert_true(lk_safetensors_has_checksums(f));
    CHECK_OK(lk_safetensors_verify(f));
    for (int i = 0; i < 3; i++)
        assert_string_equal(lk_safetensors_get(f, texts[i].key), texts[i].value);
    assert_null(lk_safetensors_get(f, "nothing"));
    assert_int_equal(lk_safetensors_find(f, "nothing"), -1);
    for (int i = 0; i < MOST; i++) {
        const int k = lk_safetensors_find(f, list[i].name);
        const int64_t count = lk_shape_count(&list[i].shape);
        unsigned char back[sizeof numbers[0]];
        double as_double[64];
        assert_true(k >= 0);
        assert_int_equal(lk_safetensors_at(f, k)->dtype, list[i].dtype);
        assert_true(lk_shape_equal(&lk_safetensors_at(f, k)->shape, &list[i].shape));
        CHECK_OK(lk_safetensors_read(f, k, list[i].dtype, back));
        assert_memory_equal(back, numbers[i], (size_t)count * lk_dtype_bytes(list[i].dtype));
        CHECK_OK(lk_safetensors_read(f, k, LK_F64, as_double));
        for (int64_t e = 0; e < count; e++)
            assert_true(as_double[e] == lk_element(list[i].dtype, numbers[i], e));
    }
    lk_safetensors_free(&f);
    /* The bytes do not depend on the order of the list. */
    bytes = slurp(path, &n);
    for (int i = 0; i < MOST / 2; i++) {
        const lk_safetensor t = list[i];
        list[i] = list[MOST - 1 - i];
        list[MOST - 1 - i] = t;
    }
    CHECK_OK(lk_safetensors_write(path, MOST, list, 3, texts, NULL, NULL));
    same = slurp(path, &again);
    assert_int_equal(n, again);
    assert_memory_equal(bytes, same, n);
    free(bytes);
    free(same);
}

static lk_status fetch_one(void *user, int i, void *data)
{
    memcpy(data, numbers[i],
           (size_t)lk_shape_count(&list[i].shape) * lk_dtype_bytes(list[i].dtype));
    ++*(int *)user;
    return i == 2 && *(int *)user > 100 ? LK_FAIL(LK_E_IO, "no more") : LK_OK;
}

static void numbers_can_be_fetched(void **state)
{
    size_t n = 0, again = 0;
    int calls = 0;
    char *bytes, *same;
    (void)state;
    fill_list();
    CHECK_OK(lk_safetensors_write(path, MOST, list, 3, texts, NULL, NULL));
    bytes = slurp(path, &n);
    for (int i = 0; i < MOST; i++)
        list[i].data = NULL;
    CHECK_FAILS(lk_safetensors_write(path, MOST, list, 3, texts, NULL, NULL), LK_E_ARG);
    CHECK_OK(lk_safetensors_write(path, MOST, list, 3, texts, fetch_one, &calls));
    assert_int_equal(calls, MOST - 1);
    calls = 100;
    CHECK_FAILS(lk_safetensors_write(path, MOST, list, 3, texts, fetch_one, &calls), LK_E_IO);
    same = slurp(path, &again);
    assert_int_equal(n, again);
    assert_memory_equal(bytes, same, n);
    free(bytes);
    free(same);
    list[1].name = list[0].name;
    CHECK_FAILS(lk_safetensors_write(path, 2, list, 0, NULL, fetch_one, &calls), LK_E_ARG);
    list[1].name = "";
    CHECK_FAILS(lk_safetensors_write(path, 2, list, 0, NULL, fetch_one, &calls), LK_E_ARG);
    list[1].name = "__metadata__";
    CHECK_FAILS(lk_safetensors_write(path, 2, list, 0, NULL, fetch_one, &calls), LK_E_ARG);
    CHECK_FAILS(lk_safetensors_write(path, 1, list, 1, &(lk_safetensors_text){"xxh64", ""},
                                     fetch_one, &calls),
                LK_E_ARG);
    CHECK_OK(lk_safetensors_write(path, 0, NULL, 0, NULL, NULL, NULL));
}

static lk_status open_and_verify(const char *from)
{
    lk_status st = LK_OK;
    lk_safetensors *f = NULL;
    LK_TRY(lk_safetensors_open(&f, from));
    /* Without its mark a file counts as another program's: whoever needs checksums asks. */
    LK_REQUIRE(lk_safetensors_has_checksums(f), LK_E_FORMAT, "'%s' has no checksums", from);
    LK_TRY(lk_safetensors_verify(f));
done:
    lk_safetensors_free(&f);
    return st;
}

static void every_flipped_bit_and_every_cut_is_seen(void **state)
{
    size_t n = 0;
    char *bytes;
    (void)state;
    fill_list();
    CHECK_OK(lk_safetensors_write(path, MOST, list, 3, texts, NULL, NULL));
    bytes = slurp(path, &n);
    sprintf(other, "%s/damaged", folder);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (char)(1 << (bit % 8));
        spill(other, bytes, n);
        bytes[bit / 8] ^= (char)(1 << (bit % 8));
        const lk_status st = open_and_verify(other);
        if (st != LK_E_FORMAT && st != LK_E_UNSUPPORTED)
            fail_msg("bit %zu of byte %zu gave %s", bit % 8, bit / 8, lk_status_name(st));
        assert_non_null(strstr(lk_error_text(), other));
        lk_error_clear();
    }
    for (size_t kept = 0; kept < n; kept++) {
        spill(other, bytes, kept);
        CHECK_FAILS(open_and_verify(other), LK_E_FORMAT);
    }
    bytes[n - 1] ^= 1; /* the last tensor's */
    spill(other, bytes, n);
    assert_int_equal(open_and_verify(other), LK_E_FORMAT);
    assert_non_null(strstr(lk_error_text(), "tensor 'u8'"));
    lk_error_clear();
    free(bytes);
}

/* A header and so many bytes behind it, as another program might write them. */
static lk_status open_header(const char *header, size_t data_bytes)
{
    char file[4096] = {0};
    const uint64_t length = strlen(header);
    lk_safetensors *f = NULL;
    lk_status st;
    memcpy(file, &length, sizeof length);
    memcpy(file + 8, header, length);
    spill(path, file, 8 + length + data_bytes);
    st = lk_safetensors_open(&f, path);
    lk_safetensors_free(&f);
    return st;
}

static void headers_are_checked(void **state)
{
    static const struct {
        const char *header;
        size_t bytes;
        lk_status expected;
        const char *word;
    } cases[] = {
        {"{}", 0, LK_OK, ""},
        {" { } \n", 0, LK_OK, ""},
        {"{\"__metadata__\":{}}", 0, LK_OK, ""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, LK_OK, ""},
        {"{\"\\u00e4\\ud83c\\udfb5\\/\":{\"shape\":[],\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1,
         LK_OK, ""},
        {"{}", 1, LK_E_FORMAT, "belong to no tensor"},
        {"[]", 0, LK_E_FORMAT, "'{' is missing"},
        {"{} x", 0, LK_E_FORMAT, "follows the end"},
        {"{\"a", 0, LK_E_FORMAT, "does not end"},
        {"{\"a\\q\":1}", 0, LK_E_FORMAT, "escape"},
        {"{\"\\ud83c\":1}", 0, LK_E_FORMAT, "surrogate"},
        {"{\"\\u0000\":1}", 0, LK_E_FORMAT, "escape"},
        {"{\"\xff\":1}", 0, LK_E_FORMAT, "not text"},
        {"{\"\":{}}", 0, LK_E_FORMAT, "no name"},
        {"{\"__metadata__\":{\"a\":1}}", 0, LK_E_FORMAT, "'\"' is missing"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, LK_E_FORMAT, "two __metadata__"},
        {"{\"__metadata__\":{\"xxh64\":\"12\"}}", 0, LK_E_FORMAT, "checksums"},
        {"{\"__metadata__\":{\"xxh64\":\"0000000000000000\"}}", 0, LK_E_FORMAT, "checksum"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, LK_E_FORMAT, "'a' lacks its data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 8, LK_E_FORMAT,
         "twice the field 'dtype'"},
        {"{\"a\":{\"x\":1}}", 8, LK_E_FORMAT, "unknown field 'x'"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\"}}", 8, LK_E_UNSUPPORTED, "'F8_E4M3'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, LK_E_FORMAT,
         "whole number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
         LK_E_UNSUPPORTED, "dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         LK_E_FORMAT, "sizes of tensor 'a'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0,
         LK_E_FORMAT, "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, LK_E_FORMAT,
         "needs 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, LK_E_FORMAT,
         "needs 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, LK_E_FORMAT,
         "cut off"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, LK_E_FORMAT,
         "where 0 was due"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
         12, LK_E_FORMAT, "tensor 'b' starts at byte 4, where 8 was due"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, LK_E_FORMAT, "two tensors named 'a'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const lk_status st = open_header(cases[i].header, cases[i].bytes);
        if (st != cases[i].expected || !strstr(lk_error_text(), cases[i].word))
            fail_msg("%s: %s, %s", cases[i].header, lk_status_name(st), lk_error_text());
        lk_error_clear();
    }
}

static void every_failure_leaves_the_old_file(void **state)
{
    int fired = 1;
    (void)state;
    fill_list();
    CHECK_OK(lk_safetensors_write(path, MOST, list, 3, texts, NULL, NULL));
    for (int n = 1; fired; n++) {
        lk_file_fail_after(n);
        const lk_status st = lk_safetensors_write(path, MOST - 1, list, 3, texts, NULL, NULL);
        fired = lk_file_fault_fired();
        assert_int_equal(st, fired ? LK_E_IO : LK_OK);
        lk_file_fail_after(0);
        CHECK_OK(open_and_verify(path));
    }
    fired = 1;
    for (int n = 1; fired; n++) {
        lk_mem_fail_after(n);
        lk_status st = lk_safetensors_write(path, MOST, list, 3, texts, NULL, NULL);
        if (st == LK_OK)
            st = open_and_verify(path);
        fired = lk_mem_fault_fired();
        lk_mem_fail_after(0);
        assert_int_equal(st, fired ? LK_E_MEMORY : LK_OK);
        CHECK_OK(open_and_verify(path));
    }
    CHECK_FAILS(open_and_verify("/nonexistent/file"), LK_E_IO);
    CHECK_FAILS(open_and_verify("/tmp"), LK_E_IO);
    CHECK_FAILS(lk_safetensors_write("/nonexistent/file", 0, NULL, 0, NULL, NULL, NULL), LK_E_IO);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return 1;
    sprintf(path, "%s/file", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    sprintf(other, "%s/damaged", folder);
    unlink(path);
    unlink(other);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_matches_the_published_function),
        cmocka_unit_test(text_grows_and_quotes),
        cmocka_unit_test(a_replaced_file_is_old_or_new),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(numbers_can_be_fetched),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_seen),
        cmocka_unit_test(headers_are_checked),
        cmocka_unit_test(every_failure_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
