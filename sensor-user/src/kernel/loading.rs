//! Programs go into the kernel side by side: it takes half a second to follow one of them.

use std::thread;

use aya::programs::{Program, ProgramError};

/// Loads programs, each on a thread of its own.
///
/// # Errors
/// If the kernel refuses one, or there is no thread to be had.
pub fn side_by_side(programs: Vec<&mut Program>) -> Result<(), ProgramError> {
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for program in programs {
            let thread = thread::Builder::new().name("load".to_owned());
            threads.push(thread.spawn_scoped(scope, move || load(program))?);
        }
        let mut result = Ok(());
        for thread in threads {
            result = result.and(thread.join().unwrap_or(Err(ProgramError::NotLoaded)));
        }
        result
    })
}

/// Loads a program, if it is not loaded yet.
///
/// # Errors
/// If the kernel refuses it.
pub fn load(program: &mut Program) -> Result<(), ProgramError> {
    if program.fd().is_ok() {
        return Ok(());
    }
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
