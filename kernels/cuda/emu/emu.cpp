/* emu.cpp - the scheduler of emu.h: fibers, barriers, warp rendezvous. */
#include "kernels/cuda/emu/emu.h"

#include "kernels/cuda/cuda.h"
#include "kernels/mem.h"

#include <stdarg.h>
#include <stdio.h>

#if defined(__SANITIZE_ADDRESS__)
#define LK_EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LK_EMU_ASAN 1
#endif
#endif
#ifdef LK_EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES ((size_t)128 << 10)
#else
#define STACK_BYTES ((size_t)32 << 10)
#endif

#define MAX_THREADS 1024

/* What runs: the stack pointer below which its registers lie. */
typedef void *lk_emu_context;

#if defined(__x86_64__)
/* Leave *from, go on in `to`: registers a function must keep are on the stack.  swapcontext would
 * do, but asks the kernel about signals at every switch, which is most of the time a test takes. */
extern "C" void lk_emu_switch(lk_emu_context *from, lk_emu_context to);
__asm__(".text\n"
        ".globl lk_emu_switch\n"
        ".type lk_emu_switch, @function\n"
        "lk_emu_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size lk_emu_switch, .-lk_emu_switch\n");

/* A context that begins `entry` on this stack, as if it had been called. */
static lk_emu_context new_context(char *stack, size_t bytes, void (*entry)())
{
    void **top = (void **)(stack + bytes);
    top[-1] = nullptr;
    top[-2] = (void *)entry;
    memset(top - 8, 0, 6 * sizeof *top);
    return top - 8;
}
#else
#include <ucontext.h>

/* The slow way, on machines without one of our own. */
static void lk_emu_switch(lk_emu_context *from, lk_emu_context to)
{
    ucontext_t here;
    *from = &here;
    swapcontext(&here, (ucontext_t *)to);
}

static lk_emu_context new_context(char *stack, size_t bytes, void (*entry)())
{
    ucontext_t *c = (ucontext_t *)stack;
    getcontext(c);
    c->uc_stack.ss_sp = stack + sizeof *c;
    c->uc_stack.ss_size = bytes - sizeof *c;
    c->uc_link = nullptr;
    makecontext(c, entry, 0);
    return c;
}
#endif

namespace emu
{

place now;

enum state { READY, AT_BARRIER, AT_WARP, AT_EVENT, ENDED };

struct fiber {
    lk_emu_context context;
    char *stack;
    dim3 thread;
    enum state state;
    const char *site;                /* where it waits */
    unsigned mask;                   /* AT_WARP: lanes it waits for */
    bool (*ready)(const void *what); /* AT_EVENT */
    const void *what;
};

struct turn {
    int came;
    uint32_t turns;
};

static fiber fibers[MAX_THREADS];
static lk_emu_context scheduler;
static unsigned n_threads, n_warps, n_ended; /* of the running block */
static uint32_t warp_epochs[MAX_THREADS / 32];
static turn turns[16];                 /* named barriers */
static uint64_t slots[2][MAX_THREADS]; /* what lanes give; the parity of the rendezvous chooses */
static void (*body)(void *);
static void *body_context;
static const char *kernel_name;
static bool failed, reverse;

#ifdef LK_EMU_ASAN
static const void *scheduler_stack;
static size_t scheduler_stack_bytes;
static void enter(const char *stack, void **fake)
{
    __sanitizer_start_switch_fiber(fake, stack ? (const void *)stack : scheduler_stack,
                                   stack ? STACK_BYTES : scheduler_stack_bytes);
}
static void entered(void *fake, bool from_scheduler)
{
    if (from_scheduler)
        __sanitizer_finish_switch_fiber(fake, &scheduler_stack, &scheduler_stack_bytes);
    else
        __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}
#else
static void enter(const char *stack, void **fake)
{
    (void)stack;
    (void)fake;
}
static void entered(void *fake, bool from_scheduler)
{
    (void)fake;
    (void)from_scheduler;
}
#endif

static void to_scheduler()
{
    void *fake = nullptr;
    fiber *f = &fibers[now.id];
    enter(nullptr, f->state == ENDED ? nullptr : &fake);
    lk_emu_switch(&f->context, scheduler);
    entered(fake, true);
}

static void first_step()
{
    entered(nullptr, true);
    body(body_context);
    fibers[now.id].state = ENDED;
    to_scheduler();
}

static void resume(unsigned i)
{
    void *fake = nullptr;
    now.id = i;
    now.warp = i / 32;
    now.lane = i % 32;
    now.thread = fibers[i].thread;
    enter(fibers[i].stack, &fake);
    lk_emu_switch(&scheduler, fibers[i].context);
    entered(fake, false);
}

static void note(const char *text)
{
    (void)LK_FAIL(LK_E_INTERNAL, "%s", text);
    failed = true;
}

void fail(const char *format, ...)
{
    char what[256], text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(text, sizeof text, "kernel %s, block (%u, %u, %u), thread %u: %s", kernel_name,
             now.block.x, now.block.y, now.block.z, now.id, what);
    note(text);
    fibers[now.id].state = ENDED;
    to_scheduler();
    __builtin_unreachable();
}

void block_barrier(const char *site)
{
    fibers[now.id].state = AT_BARRIER;
    fibers[now.id].site = site;
    to_scheduler();
}

void wait_until(bool (*ready)(const void *what), const void *what, const char *site)
{
    fiber *f = &fibers[now.id];
    if (ready(what))
        return;
    f->state = AT_EVENT;
    f->site = site;
    f->ready = ready;
    f->what = what;
    to_scheduler();
}

struct turn_awaited {
    const turn *of;
    uint32_t before;
};

static bool turn_came(const void *what)
{
    const turn_awaited *a = (const turn_awaited *)what;
    return a->of->turns != a->before;
}

void turn_give(int id, int n)
{
    turn *t = &turns[id];
    if (++t->came == n) {
        t->came = 0;
        t->turns++;
    }
}

void turn_wait(int id, int n, const char *site)
{
    const turn_awaited a = {&turns[id], turns[id].turns};
    turn_give(id, n);
    wait_until(turn_came, &a, site);
}

void exchange(unsigned mask, void *value, size_t n, unsigned from, const char *site)
{
    const unsigned parity = warp_epochs[now.warp] & 1, first = now.warp * 32;
    fiber *f = &fibers[now.id];
    if (!(mask >> now.lane & 1))
        fail("calls a warp function at %s without being in its mask", site);
    if (from < 32 && !(mask >> from & 1))
        fail("takes the value of lane %u, which is not in the mask, at %s", from, site);
    memcpy(&slots[parity][now.id], value, n);
    f->state = AT_WARP;
    f->site = site;
    f->mask = mask;
    to_scheduler();
    if (from < 32)
        memcpy(value, &slots[parity][first + from], n);
}

unsigned ballot(unsigned mask, int yes, const char *site)
{
    const unsigned parity = warp_epochs[now.warp] & 1, first = now.warp * 32;
    unsigned lanes = 0;
    uint64_t mine = yes != 0;
    exchange(mask, &mine, sizeof mine, now.lane, site);
    for (unsigned lane = 0; lane < 32; lane++)
        if (mask >> lane & 1 && slots[parity][first + lane])
            lanes |= 1u << lane;
    return lanes;
}

static void describe_stuck(unsigned a, unsigned b, const char *barrier)
{
    char text[512];
    const fiber *f = &fibers[a], *g = &fibers[b];
    snprintf(text, sizeof text,
             "kernel %s, block (%u, %u, %u): thread %u waits for %s at %s while thread %u %s%s",
             kernel_name, now.block.x, now.block.y, now.block.z, a, barrier, f->site, b,
             g->state == ENDED ? "has ended" : "waits at ", g->state == ENDED ? "" : g->site);
    note(text);
}

/* Does this lane make its warp's rendezvous with the leader impossible? */
static bool elsewhere(const fiber *f, const fiber *leader)
{
    return f->state == ENDED || f->state == AT_BARRIER ||
           (f->state == AT_WARP && (f->site != leader->site || f->mask != leader->mask));
}

/* Let the warps go whose lanes have all come; true if any went. */
static bool release_warps()
{
    bool any = false;
    for (unsigned w = 0; w < n_warps && !failed; w++) {
        unsigned leader = n_threads;
        bool all = true;
        for (unsigned i = w * 32; i < w * 32 + 32 && i < n_threads; i++)
            if (fibers[i].state == AT_WARP && leader == n_threads)
                leader = i;
        if (leader == n_threads)
            continue;
        for (unsigned lane = 0; lane < 32; lane++) {
            const unsigned i = w * 32 + lane;
            const fiber *f = &fibers[leader];
            if (!(f->mask >> lane & 1))
                continue;
            if (i >= n_threads || elsewhere(&fibers[i], f)) {
                describe_stuck(leader, i < n_threads ? i : n_threads - 1, "its warp");
                return false;
            }
            all = all && fibers[i].state == AT_WARP;
        }
        if (!all)
            continue;
        for (unsigned lane = 0; lane < 32; lane++)
            if (fibers[leader].mask >> lane & 1)
                fibers[w * 32 + lane].state = READY;
        warp_epochs[w]++;
        any = true;
    }
    return any;
}

/* Let the threads go whose event has come; true if any went. */
static bool release_events()
{
    bool any = false;
    for (unsigned i = 0; i < n_threads; i++)
        if (fibers[i].state == AT_EVENT && fibers[i].ready(fibers[i].what)) {
            fibers[i].state = READY;
            any = true;
        }
    return any;
}

static void release_block()
{
    unsigned waiting = 0, event = 0;
    while (event < n_threads && fibers[event].state != AT_EVENT)
        event++;
    if (event < n_threads) {
        describe_stuck(event, event ? 0 : n_threads - 1, "what never comes");
        return;
    }
    while (fibers[waiting].state != AT_BARRIER)
        waiting++; /* somebody is: nobody is ready, and warps that cannot go on were reported */
    for (unsigned i = 0; i < n_threads; i++)
        if (fibers[i].state != AT_BARRIER || fibers[i].site != fibers[waiting].site) {
            describe_stuck(waiting, i, "the block");
            return;
        }
    for (unsigned i = 0; i < n_threads; i++)
        fibers[i].state = READY;
    now.epoch++;
}

static void run_block()
{
    n_ended = 0;
    now.serial++;
    memset(turns, 0, sizeof turns);
    for (unsigned i = 0; i < n_threads; i++) {
        fiber *f = &fibers[i];
        f->thread = dim3(i % now.block_size.x, i / now.block_size.x % now.block_size.y,
                         i / now.block_size.x / now.block_size.y);
        f->state = READY;
#ifdef LK_EMU_ASAN /* frames that were left without returning are still closed */
        ASAN_UNPOISON_MEMORY_REGION(f->stack, STACK_BYTES);
#endif
        f->context = new_context(f->stack, STACK_BYTES, first_step);
    }
    while (!failed && n_ended < n_threads) {
        for (unsigned k = 0; k < n_threads && !failed; k++) {
            const unsigned i = reverse ? n_threads - 1 - k : k;
            if (fibers[i].state != READY)
                continue;
            resume(i);
            n_ended += fibers[i].state == ENDED;
        }
        if (!failed && n_ended < n_threads && !release_warps() && !failed && !release_events() &&
            !land_copy(reverse))
            release_block();
    }
    if (!failed && left_under_way()) {
        char text[256];
        snprintf(text, sizeof text, "kernel %s, block (%u, %u, %u) %s", kernel_name, now.block.x,
                 now.block.y, now.block.z, left_under_way());
        note(text);
    }
}

static lk_status prepare(dim3 grid, dim3 block)
{
    lk_status st = LK_OK;
    LK_REQUIRE(grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.y <= 65535 && grid.z <= 65535 &&
                   grid.x <= 2147483647u,
               LK_E_INTERNAL, "kernel %s: a grid of (%u, %u, %u) blocks", kernel_name, grid.x,
               grid.y, grid.z);
    n_threads = block.x * block.y * block.z;
    LK_REQUIRE(n_threads > 0 && n_threads <= MAX_THREADS && block.z <= 64, LK_E_INTERNAL,
               "kernel %s: blocks of (%u, %u, %u) threads", kernel_name, block.x, block.y, block.z);
    n_warps = (n_threads + 31) / 32;
    for (unsigned i = 0; i < n_threads; i++)
        if (!fibers[i].stack)
            LK_TRY(lk_alloc_(STACK_BYTES, 1, (void **)&fibers[i].stack));
    now.block_size = block;
    now.grid_size = grid;
    now.warp_epoch = warp_epochs;
done:
    return st;
}

lk_status launch(const char *name, dim3 grid, dim3 block, void (*thread)(void *), void *context)
{
    lk_status st = LK_OK;
    const uint64_t n = (uint64_t)grid.x * grid.y * grid.z;
    kernel_name = name;
    LK_TRY(prepare(grid, block));
    failed = false;
    body = thread;
    body_context = context;
    for (uint64_t k = 0; k < n && !failed; k++) {
        const uint64_t i = reverse ? n - 1 - k : k;
        now.block = dim3((unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y),
                         (unsigned)(i / grid.x / grid.y));
        run_block();
    }
    st = failed ? LK_E_INTERNAL : LK_OK;
done:
    return st;
}

} // namespace emu

void lk_emu_reverse(int reverse)
{
    emu::reverse = reverse != 0;
}
