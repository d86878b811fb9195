/* hopper.cpp - the state behind emu/hopper.h: shared memory by bytes, phases, copies on their way,
 * products that nobody has waited for. */
#include "kernels/cuda/hopper.h"

namespace emu
{

enum { SHARED = 232448, WORD = 16, MOST_PHASES = 32, MOST_FLIGHTS = 64, MOST_THREADS = 1024 };

/* 16 bytes of shared memory in the running block. */
struct piece {
    uint32_t serial;   /* of the block; other: nothing was written */
    bool arriving;     /* else: arrived ... */
    unsigned by, when; /* ... by phase number `when` of this word */
};
struct phase {
    uint32_t word;
    unsigned arrivals, missing;
    int64_t bytes;
    unsigned ended; /* phases so far */
};
struct flight {
    uint32_t to, bytes;
    const void *from; /* as they are; NULL: by the map */
    lk_tensor_map map;
    int col, row, plane;
    unsigned by;
};

static lk_bf16 memory[SHARED / 2];
static piece pieces[SHARED / WORD];
static phase phases[MOST_PHASES];
static flight flights[MOST_FLIGHTS];
static unsigned n_phases, n_flights;
static unsigned seen[MOST_THREADS][MOST_PHASES]; /* phases whose end a thread has waited for */
static products products_of[MOST_THREADS];
static uint32_t serial; /* of the block all this belongs to */

static void renew()
{
    if (serial == now.serial)
        return;
    serial = now.serial;
    n_phases = n_flights = 0;
    memset(seen, 0, sizeof seen);
}

static unsigned phase_of(uint32_t word)
{
    renew();
    for (unsigned i = 0; i < n_phases; i++)
        if (phases[i].word == word)
            return i;
    fail("uses a phase at %u that nobody initialised", word);
}

void phase_init(uint32_t word, unsigned arrivals)
{
    renew();
    if (n_phases == MOST_PHASES || word % 8 || word + 8 > SHARED)
        fail("initialises a phase at %u, the %uth", word, n_phases);
    phases[n_phases++] = {word, arrivals, arrivals, 0, 0};
}

static void end_if_complete(phase *p)
{
    if (p->missing == 0 && p->bytes == 0) {
        p->ended++;
        p->missing = p->arrivals;
    }
}

void phase_arrive(uint32_t word, unsigned bytes)
{
    phase *p = &phases[phase_of(word)];
    if (p->missing == 0)
        fail("arrives at a phase at %u that nobody is missing from", word);
    p->bytes += bytes;
    p->missing--;
    end_if_complete(p);
}

struct awaited {
    unsigned by, parity;
};

static bool has_ended(const void *what)
{
    const awaited *a = (const awaited *)what;
    return (phases[a->by].ended & 1) != a->parity;
}

void phase_wait(uint32_t word, unsigned parity, const char *site)
{
    const awaited a = {phase_of(word), parity};
    wait_until(has_ended, &a, site);
    seen[now.id][a.by] = phases[a.by].ended;
}

static void start(const flight &f, uint32_t align)
{
    if (n_flights == MOST_FLIGHTS || f.to % align || f.bytes % WORD || f.to + f.bytes > SHARED)
        fail("copies %u bytes to %u, the %uth copy under way", f.bytes, f.to, n_flights);
    for (uint32_t i = f.to / WORD; i < (f.to + f.bytes) / WORD; i++) {
        if (pieces[i].serial == now.serial && pieces[i].arriving)
            fail("copies to %u, where another copy is on its way to", f.to);
        pieces[i] = {now.serial, true, f.by, 0};
    }
    flights[n_flights++] = f;
}

void box_copy(uint32_t to, const lk_tensor_map *map, int col, int row, int plane, uint32_t word)
{
    const uint32_t bytes = (uint32_t)map->box_rows * LK_PANEL_ROW_BYTES;
    start({to, bytes, nullptr, *map, col, row, plane, phase_of(word)}, LK_PANEL_ALIGN);
}

void bytes_copy(uint32_t to, const void *from, uint32_t bytes, uint32_t word)
{
    start({to, bytes, from, {}, 0, 0, 0, phase_of(word)}, WORD);
}

static void arrive_box(const flight &f)
{
    for (int r = 0; r < f.map.box_rows; r++)
        for (int c = 0; c < LK_PANEL; c++) {
            const uint32_t at =
                f.to + lk_panel_at((uint32_t)f.map.box_rows, (uint32_t)r, (uint32_t)c);
            const int64_t row = f.row + r, col = f.col + c;
            const bool there = row < f.map.rows && col < f.map.d;
            memory[at / 2] =
                there ? f.map.base[(f.plane * f.map.rows + row) * f.map.d + col] : (lk_bf16)0;
        }
}

static void arrive(const flight &f)
{
    phase *p = &phases[f.by];
    if (f.from)
        memcpy((char *)memory + f.to, f.from, f.bytes);
    else
        arrive_box(f);
    for (uint32_t i = f.to / WORD; i < (f.to + f.bytes) / WORD; i++)
        pieces[i] = {now.serial, false, f.by, p->ended};
    p->bytes -= f.bytes;
    end_if_complete(p);
}

bool land_copy(bool last)
{
    flight f;
    renew();
    if (!n_flights)
        return false;
    f = flights[last ? n_flights - 1 : 0];
    if (!last)
        memmove(flights, flights + 1, (n_flights - 1) * sizeof flights[0]);
    n_flights--;
    arrive(f);
    return true;
}

static void reading(uint32_t address, uint32_t bytes)
{
    const piece *p = &pieces[address / WORD];
    if (address % bytes || address + bytes > SHARED || p->serial != now.serial)
        fail("reads shared memory at %u that nothing was copied to", address);
    if (p->arriving)
        fail("reads shared memory at %u that a copy is still on its way to", address);
    if (seen[now.id][p->by] <= p->when)
        fail("reads shared memory at %u without having waited for its copy", address);
}

lk_bf16 shared_number(uint32_t address)
{
    reading(address, sizeof(lk_bf16));
    return memory[address / 2];
}

float4 shared_four(uint32_t address)
{
    float4 x;
    reading(address, sizeof x);
    memcpy(&x, (const char *)memory + address, sizeof x);
    return x;
}

products *my_products()
{
    products *all = &products_of[now.id];
    if (all->serial != now.serial) {
        all->serial = now.serial;
        all->n = all->groups = all->begun = 0;
    }
    return all;
}

void issue(const product &p)
{
    products *all = my_products();
    if (!all->begun)
        fail("issues a product without lk_product_begin since the last wait");
    if (all->n == products::MOST)
        fail("has more than %d products under way", products::MOST);
    all->of[all->n] = p;
    all->of[all->n++].group = all->groups;
}

const char *left_under_way()
{
    renew();
    if (n_flights)
        return "ends while a copy is on its way";
    for (unsigned i = 0; i < now.block_size.x; i++)
        if (products_of[i].serial == now.serial && products_of[i].n)
            return "ends while a product is under way";
    return nullptr;
}

} // namespace emu

lk_status LK_CUDA(tensor_map)(void *map, const void *base, int64_t d, int64_t rows, int64_t planes,
                              int box_rows)
{
    *(lk_tensor_map *)map = {(const lk_bf16 *)base, d, rows, planes, box_rows};
    return LK_OK;
}

int LK_CUDA(hopper_places)(void)
{
    return 3; /* few, so that a block has several tiles in turn */
}
