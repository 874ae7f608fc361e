//! A Linux program with neither std nor an allocator nor libc, which runs the core and exits with what it found.
//!
//! Exit codes: 0, every total was exact; 1 to 99, the [`Step`](nervebus_no_std::Step) that failed; 101, a panic.

#![no_std]
#![no_main]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("this binary makes x86-64 Linux system calls; elsewhere check the library with `cargo check --lib`");

// The kernel enters here with no return address on the stack. What `start` returns becomes the exit code (system call
// 231, `exit_group`).
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {start}",
    "mov edi, eax",
    "mov eax, 231",
    "syscall",
    "ud2",
    start = sym start,
);

// The compiler emits calls to these whether or not there is a libc. In assembly, because a loop in Rust would be
// recognised as the very function and compiled into a call to itself.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
core::arch::global_asm!(
    ".globl memcpy",
    "memcpy:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    // Backwards if the destination starts inside the source.
    ".globl memmove",
    "memmove:",
    "mov rax, rdi",
    "mov rcx, rdx",
    "mov r8, rdi",
    "sub r8, rsi",
    "cmp r8, rdx",
    "jb 2f",
    "rep movsb",
    "ret",
    "2:",
    "lea rdi, [rdi + rdx - 1]",
    "lea rsi, [rsi + rdx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    ".globl memset",
    "memset:",
    "mov r8, rdi",
    "mov eax, esi",
    "mov rcx, rdx",
    "rep stosb",
    "mov rax, r8",
    "ret",
    ".globl memcmp",
    ".globl bcmp",
    "memcmp:",
    "bcmp:",
    "xor ecx, ecx",
    "3:",
    "cmp rcx, rdx",
    "je 4f",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx r8d, byte ptr [rsi + rcx]",
    "inc rcx",
    "sub eax, r8d",
    "je 3b",
    "ret",
    "4:",
    "xor eax, eax",
    "ret",
);

// The precompiled `core` was built for unwinding and refers to this; only link-time optimisation drops the reference.
// Both profiles abort, so nobody calls it.
#[cfg(all(target_arch = "x86_64", target_os = "linux", debug_assertions))]
core::arch::global_asm!(".globl rust_eh_personality", "rust_eh_personality:", "ud2");

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
extern "C" fn start() -> i32 {
    match nervebus_no_std::run() {
        Ok(()) => 0,
        Err(step) => step as i32,
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: `exit_group` takes one integer, touches no memory of this process and does not return.
    unsafe {
        core::arch::asm!("syscall", in("rax") 231, in("rdi") 101, options(noreturn, nostack));
    }
}
