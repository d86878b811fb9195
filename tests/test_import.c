/* test_import.c - weights out of NumPy's and PyTorch's files, right ones and wrong ones. */
#include "tests/check.h"
#include "tests/import_files.h"

#include "av/import/npy.h"
#include "av/import/weights.h"
#include "av/import/zip.h"
#include "kernels/file.h"
#include "kernels/mem.h"
#include "kernels/safetensors.h"

#include <unistd.h>

static const float numbers[6] = {1, -2, 3.5f, 4, 0, 6};

static lk_status parse(lk_weights *w, const bytes *b)
{
    return lk_weights_parse(w, b->at, b->n, "folder/file.pt");
}

/* Entry i must be called so and hold these numbers. */
static void check_entry(lk_weights *w, size_t i, const char *name, lk_dtype dtype, int64_t n,
                        const double *wanted)
{
    lk_tensor t;
    assert_true(i < w->n);
    assert_string_equal(w->at[i].name, name);
    CHECK_OK(lk_weights_tensor(w, i, &t));
    assert_int_equal(t.dtype, dtype);
    assert_int_equal(lk_tensor_count(&t), n);
    for (int64_t k = 0; k < n; k++)
        CHECK_CLOSE(lk_element(dtype, t.data, k), wanted[k], 0);
}

static void one_npy(const char *header, const void *data, size_t n, lk_dtype dtype, int64_t count,
                    const double *wanted)
{
    bytes b = {0};
    lk_weights w;
    put_npy(&b, 1, header, data, n);
    CHECK_OK(parse(&w, &b));
    assert_string_equal(w.format, "npy");
    check_entry(&w, 0, "file", dtype, count, wanted);
    lk_weights_close(&w);
    drop(&b);
}

#define HEADER(type) "{'descr': '" type "', 'fortran_order': False, 'shape': (2,)}"

static void npy_reads_every_number(void **state)
{
    (void)state;
    one_npy(HEADER("<f4"), "\0\0\x80\x3f\0\0\0\xc0", 8, LK_F32, 2, (double[]){1, -2});
    one_npy(HEADER(">f4"), "\x3f\x80\0\0\xc0\0\0\0", 8, LK_F32, 2, (double[]){1, -2});
    one_npy(HEADER("<f8"), "\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\xc0", 16, LK_F64, 2,
            (double[]){1, -2});
    one_npy(HEADER(">f8"), "\x3f\xf0\0\0\0\0\0\0\xc0\0\0\0\0\0\0\0", 16, LK_F64, 2,
            (double[]){1, -2});
    one_npy(HEADER("<f2"), "\0\x3c\0\xc0", 4, LK_F16, 2, (double[]){1, -2});
    one_npy(HEADER(">f2"), "\x3c\0\xc0\0", 4, LK_F16, 2, (double[]){1, -2});
    one_npy(HEADER("|i1"), "\x7f\x80", 2, LK_I32, 2, (double[]){127, -128});
    one_npy(HEADER("<i2"), "\xff\x7f\0\x80", 4, LK_I32, 2, (double[]){32767, -32768});
    one_npy(HEADER(">i2"), "\x7f\xff\x80\0", 4, LK_I32, 2, (double[]){32767, -32768});
    one_npy(HEADER("<i4"), "\1\0\0\0\0\0\0\x80", 8, LK_I32, 2, (double[]){1, -2147483648.0});
    one_npy(HEADER(">i4"), "\0\0\0\1\x80\0\0\0", 8, LK_I32, 2, (double[]){1, -2147483648.0});
    one_npy(HEADER("<i8"), "\1\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 16, LK_I64, 2,
            (double[]){1, -1});
    one_npy(HEADER(">i8"), "\0\0\0\0\0\0\0\1\xff\xff\xff\xff\xff\xff\xff\xfe", 16, LK_I64, 2,
            (double[]){1, -2});
    one_npy(HEADER("|u1"), "\1\xff", 2, LK_U8, 2, (double[]){1, 255});
    one_npy(HEADER("<u2"), "\1\0\xff\xff", 4, LK_I32, 2, (double[]){1, 65535});
    one_npy(HEADER(">u2"), "\0\1\xff\xff", 4, LK_I32, 2, (double[]){1, 65535});
    one_npy(HEADER("<u4"), "\1\0\0\0\xff\xff\xff\xff", 8, LK_I64, 2, (double[]){1, 4294967295.0});
    one_npy(HEADER(">u4"), "\0\0\0\1\xff\xff\xff\xff", 8, LK_I64, 2, (double[]){1, 4294967295.0});
    one_npy(HEADER("<u8"), "\1\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0", 16, LK_I64, 2,
            (double[]){1, 4294967296.0});
    one_npy(HEADER("|b1"), "\0\2", 2, LK_BOOL, 2, (double[]){0, 1});
}

static void npy_reads_every_order_and_form(void **state)
{
    static const double rows[] = {1, -2, 3.5, 4, 0, 6}, columns[] = {1, 3.5, 0, -2, 4, 6};
    bytes b = {0};
    lk_weights w;
    (void)state;
    one_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", numbers, 24, LK_F32, 6,
            rows);
    one_npy("{ \"shape\":(2L,3L) ,'fortran_order' :True,\t'descr':'=f4'}", numbers, 24, LK_F32, 6,
            columns);
    one_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", numbers, 4, LK_F32, 1, rows);
    one_npy("{'descr': '<f4', 'fortran_order': True, 'shape': (0, 7), }", "", 0, LK_F32, 0, NULL);
    for (int version = 2; version <= 3; version++) {
        put_npy(&b, version, HEADER("<f4"), numbers, 8);
        CHECK_OK(parse(&w, &b));
        check_entry(&w, 0, "file", LK_F32, 2, rows);
        lk_weights_close(&w);
        drop(&b);
    }
}

static void npy_refuses(void **state)
{
    static const struct {
        const char *header;
        lk_status status;
    } wrong[] = {
        {"", LK_E_FORMAT},
        {"{}", LK_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False}", LK_E_FORMAT},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}", LK_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (6,)}", LK_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 6}", LK_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-6,)}", LK_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6", LK_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", LK_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", LK_E_SHAPE},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (7,)}", LK_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (5,)}", LK_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'x': (6,)}", LK_E_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,1,1,1,1,1,1)}", LK_E_UNSUPPORTED},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (3,)}", LK_E_UNSUPPORTED},
        {"{'descr': '<f3', 'fortran_order': False, 'shape': (8,)}", LK_E_UNSUPPORTED},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (3,)}", LK_E_UNSUPPORTED},
        {"{'descr': '<U3', 'fortran_order': False, 'shape': (2,)}", LK_E_UNSUPPORTED},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,)}", LK_E_UNSUPPORTED},
        {"{'descr': 'a very long name of a type', 'fortran_order': False, 'shape': (6,)}",
         LK_E_FORMAT}};
    bytes b = {0};
    lk_weights w;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put_npy(&b, 1, wrong[i].header, numbers, sizeof numbers);
        CHECK_FAILS(parse(&w, &b), wrong[i].status);
        drop(&b);
    }
    put_npy(&b, 4, HEADER("<f4"), numbers, 8);
    CHECK_FAILS(parse(&w, &b), LK_E_UNSUPPORTED);
    drop(&b);
    put_npy(&b, 1, HEADER("<u8"), "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80", 16);
    CHECK_OK(parse(&w, &b)); /* only the numbers show that they do not fit */
    lk_tensor t;
    CHECK_FAILS(lk_weights_tensor(&w, 0, &t), LK_E_UNSUPPORTED);
    lk_weights_close(&w);
    drop(&b);
}

static void npy_header_is_numpys(void **state)
{
    static const lk_dtype types[] = {LK_F32, LK_F64, LK_F16, LK_I32, LK_I64, LK_U8, LK_BOOL};
    char header[LK_NPY_HEADER];
    size_t n;
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        for (int d = 0; d <= LK_MAX_DIMS; d++) {
            lk_tensor t = {.dtype = types[i], .shape = {d, {2, 3, 1, 1, 1, 1}}}, back;
            bytes b = {0};
            lk_weights w;
            const uint8_t data[48] = {1, 0, 1};
            CHECK_OK(lk_npy_header(&t, header, &n));
            assert_int_equal(n % 64, 0);
            assert_int_equal(header[n - 1], '\n');
            put(&b, header, n);
            put(&b, data, lk_tensor_bytes(&t));
            CHECK_OK(parse(&w, &b));
            CHECK_OK(lk_weights_tensor(&w, 0, &back));
            assert_true(lk_shape_equal(&t.shape, &back.shape) && back.dtype == t.dtype);
            assert_memory_equal(back.data, data, lk_tensor_bytes(&t));
            lk_weights_close(&w);
            drop(&b);
        }
    lk_tensor huge = {
        .dtype = LK_F32,
        .shape = {6, {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}}};
    CHECK_OK(lk_npy_header(&huge, header, &n));
    huge.dtype = LK_BF16;
    CHECK_FAILS(lk_npy_header(&huge, header, &n), LK_E_UNSUPPORTED);
}

static void samples_hold_what_they_should(void **state)
{
    static const double rows[] = {1, -2, 3.5, 4, 0, 6}, columns[] = {1, 4, -2, 0, 3.5, 6};
    double as_big_endian[6]; /* of the npz: columns first, bytes the other way round */
    static const int order[] = {0, 2, 4, 1, 3, 5};
    for (int k = 0; k < 6; k++) {
        uint8_t there[4];
        float x;
        for (int i = 0; i < 4; i++)
            there[i] = ((const uint8_t *)&numbers[order[k]])[3 - i];
        memcpy(&x, there, 4);
        as_big_endian[k] = x;
    }
    bytes b = {0};
    lk_weights w;
    const char *name;
    (void)state;
    for (int i = 0; make_sample(i, &b, &name); i++) {
        CHECK_OK(lk_weights_parse(&w, b.at, b.n, name));
        if (i == 0) {
            check_entry(&w, 0, "a", LK_F32, 6, rows);
        } else if (i < 3) {
            assert_string_equal(w.format, "npz");
            assert_int_equal(w.n, 2);
            double raw[24];
            for (int k = 0; k < 24; k++)
                raw[k] = ((const uint8_t *)numbers)[k];
            check_entry(&w, 0, "a", LK_F32, 6, as_big_endian);
            check_entry(&w, 1, "dir/c", LK_U8, 24, raw);
            assert_int_equal(w.n_skipped, 1);
            assert_string_equal(w.skipped[0], "note.txt: not an array");
        } else {
            assert_string_equal(w.format, i == 3 ? "PyTorch" : "PyTorch before 1.6");
            assert_int_equal(w.n, 3);
            check_entry(&w, 0, "state_dict.w", LK_F32, 6, rows);
            check_entry(&w, 1, "state_dict.t", LK_F32, 6, columns);
            check_entry(&w, 2, "list.0", LK_F32, 3, rows + 3);
            assert_int_equal(w.n_skipped, 1);
            assert_string_equal(w.skipped[0], "epoch: a number");
        }
        lk_weights_close(&w);
        drop(&b);
    }
}

/* Cut off anywhere, a file is refused with a sentence. */
static void samples_cut_off_are_refused(void **state)
{
    bytes b = {0};
    lk_weights w;
    const char *name;
    (void)state;
    for (int i = 0; make_sample(i, &b, &name); i++) {
        for (size_t n = 0; n < b.n; n++) {
            /* An exact copy, so that reading past the end is seen by the sanitizer. */
            uint8_t *piece = malloc(n + 1);
            assert_non_null(piece);
            memcpy(piece, b.at, n);
            const lk_status st = lk_weights_parse(&w, piece, n, name);
            if (st != LK_E_FORMAT && st != LK_E_UNSUPPORTED)
                fail_msg("%s cut to %zu bytes: %s", name, n, lk_status_name(st));
            assert_true(lk_error_text()[0] != '\0');
            lk_error_clear();
            free(piece);
        }
        drop(&b);
    }
}

static void running_out_of_memory_loses_nothing(void **state)
{
    bytes b = {0};
    lk_weights w;
    lk_tensor t;
    const char *name;
    (void)state;
    for (int i = 0; make_sample(i, &b, &name); i++) {
        for (int64_t k = 1;; k++) {
            lk_mem_fail_after(k);
            lk_status st = lk_weights_parse(&w, b.at, b.n, name);
            for (size_t e = 0; st == LK_OK && e < w.n; e++)
                st = lk_weights_tensor(&w, e, &t);
            lk_weights_close(&w);
            if (!lk_mem_fault_fired()) {
                assert_int_equal(st, LK_OK);
                break;
            }
            assert_int_equal(st, LK_E_MEMORY);
            lk_error_clear();
        }
        lk_mem_fail_after(0);
        drop(&b);
    }
}

static void check_zip(const zip_member *m, int n, int end64, lk_status wanted)
{
    bytes b = {0};
    lk_weights w;
    put_zip(&b, m, n, end64);
    const lk_status st = parse(&w, &b);
    if (st != wanted)
        fail_msg("'%s' gave %s (%s), expected %s", m[0].name, lk_status_name(st), lk_error_text(),
                 lk_status_name(wanted));
    lk_error_clear();
    lk_weights_close(&w);
    drop(&b);
}

static void zip_refuses(void **state)
{
    bytes a = {0};
    (void)state;
    put_npy(&a, 1, HEADER("<f4"), numbers, 8);
#define MEMBER(...) {.name = "a.npy", .data = a.at, .n = a.n, __VA_ARGS__}
    check_zip(&(zip_member)MEMBER(.no_sum = 0), 1, 0, LK_OK);
    check_zip(&(zip_member)MEMBER(.zip64 = 1, .deflated = 1), 1, 1, LK_OK);
    check_zip(&(zip_member)MEMBER(.no_sum = 1), 1, 0, LK_OK);
    check_zip(&(zip_member)MEMBER(.wrong_sum = 1), 1, 0, LK_E_FORMAT);
    check_zip(&(zip_member)MEMBER(.wrong_sum = 1, .deflated = 1), 1, 0, LK_E_FORMAT);
    check_zip(&(zip_member)MEMBER(.encrypted = 1), 1, 0, LK_E_UNSUPPORTED);
    check_zip(&(zip_member)MEMBER(.method = 93), 1, 0, LK_E_UNSUPPORTED);
    check_zip(&(zip_member)MEMBER(.inner_name = "b.npy"), 1, 0, LK_E_FORMAT);
    check_zip(&(zip_member)MEMBER(.inner_name = "a.npyy"), 1, 0, LK_E_FORMAT);
    check_zip(&(zip_member)MEMBER(.size_lie = 1), 1, 0, LK_E_FORMAT);
    check_zip(&(zip_member)MEMBER(.size_lie = 1, .deflated = 1), 1, 0, LK_E_FORMAT);
    check_zip(&(zip_member)MEMBER(.size_lie = -1, .deflated = 1), 1, 0, LK_E_FORMAT);
    check_zip(&(zip_member)MEMBER(.method = 8), 1, 0, LK_E_FORMAT); /* not deflate at all */
    /* A bomb says how large it gets; nothing is allocated for it. */
    check_zip(&(zip_member)MEMBER(.size_lie = INT64_C(1) << 40, .deflated = 1, .zip64 = 1), 1, 0,
              LK_E_UNSUPPORTED);
    check_zip((zip_member[]){MEMBER(.no_sum = 0), MEMBER(.no_sum = 0)}, 2, 0, LK_E_FORMAT);
    check_zip((zip_member[]){MEMBER(.no_sum = 0), MEMBER(.same_place = 1)}, 2, 0, LK_E_FORMAT);
#undef MEMBER
    /* Names are names, never places. */
    check_zip(&(zip_member){.name = "../../etc/a.npy", .data = a.at, .n = a.n}, 1, 0, LK_OK);
    check_zip(&(zip_member){.name = "a\033[2J.npy", .data = a.at, .n = a.n}, 1, 0, LK_E_FORMAT);
    check_zip(&(zip_member){.name = "a\xff.npy", .data = a.at, .n = a.n}, 1, 0, LK_E_FORMAT);
    check_zip(&(zip_member){.name = ".npy", .data = a.at, .n = a.n}, 1, 0, LK_OK); /* left out */
    check_zip(NULL, 0, 0, LK_OK);
    drop(&a);
}

static void zip_says_which_sides_overlap(void **state)
{
    bytes b = {0};
    lk_zip zip;
    const zip_member m[] = {{.name = "a", .data = "x", .n = 1},
                            {.name = "b", .data = "x", .n = 1, .same_place = 1, .inner_name = "a"}};
    (void)state;
    put_zip(&b, m, 2, 0);
    CHECK_FAILS(lk_zip_open(&zip, b.at, b.n), LK_E_FORMAT);
    drop(&b);
    put_zip(&b, m, 1, 0);
    CHECK_OK(lk_zip_open(&zip, b.at, b.n));
    assert_non_null(lk_zip_find(&zip, "a"));
    assert_null(lk_zip_find(&zip, "b"));
    lk_zip_close(&zip);
    drop(&b);
}

static void files_are_told_apart_by_content(void **state)
{
    static const char *const formats[] = {"npy", "npz", "npz", "PyTorch", "PyTorch before 1.6"};
    char folder[] = "/tmp/lk_import_XXXXXX", path[64];
    lk_replace file = {0};
    lk_weights w;
    lk_tensor t;
    bytes b = {0};
    const char *name;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/wrong.npy", folder);
    for (int i = 0; make_sample(i, &b, &name); i++) {
        CHECK_OK(lk_replace_open(&file, path));
        CHECK_OK(lk_write_all(file.fd, b.at, b.n, path));
        CHECK_OK(lk_replace_commit(&file));
        lk_replace_drop(&file);
        CHECK_OK(lk_weights_open(&w, path));
        assert_string_equal(w.format, formats[i]);
        lk_weights_close(&w);
        drop(&b);
    }
    const lk_safetensor s[2] = {{"b", LK_F32, LK_SHAPE(2, 3), numbers},
                                {"a", LK_U8, LK_SHAPE(0), numbers}};
    CHECK_OK(lk_safetensors_write(path, 2, s, 0, NULL, NULL, NULL));
    CHECK_OK(lk_weights_open(&w, path));
    assert_string_equal(w.format, "safetensors");
    assert_int_equal(w.n, 2);
    CHECK_OK(lk_weights_tensor(&w, 0, &t));
    assert_memory_equal(t.data, numbers, sizeof numbers);
    CHECK_OK(lk_weights_tensor(&w, 1, &t));
    lk_weights_close(&w);
    CHECK_FAILS(lk_weights_open(&w, folder), LK_E_IO);
    unlink(path);
    CHECK_FAILS(lk_weights_open(&w, path), LK_E_IO);
    rmdir(folder);
    CHECK_FAILS(lk_weights_parse(&w, "", 0, "empty"), LK_E_FORMAT);
    CHECK_FAILS(lk_weights_parse(&w, "\x89HDF\r\n\x1a\n", 8, "h5"), LK_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_reads_every_number),
        cmocka_unit_test(npy_reads_every_order_and_form),
        cmocka_unit_test(npy_refuses),
        cmocka_unit_test(npy_header_is_numpys),
        cmocka_unit_test(samples_hold_what_they_should),
        cmocka_unit_test(samples_cut_off_are_refused),
        cmocka_unit_test(running_out_of_memory_loses_nothing),
        cmocka_unit_test(zip_refuses),
        cmocka_unit_test(zip_says_which_sides_overlap),
        cmocka_unit_test(files_are_told_apart_by_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
