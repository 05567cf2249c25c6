//! Prints what we think of expressions, for `tools/re2/verdicts.py` to compare: reads one expression a line in
//! hexadecimal, and writes the size of its program, or why it is refused.

#![allow(clippy::print_stdout, reason = "the output is what it is for")]

use std::io::{self, BufRead as _};

fn main() -> anyhow::Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let bytes: Vec<u8> = (0..line.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(line.get(at..at + 2).unwrap_or_default(), 16))
            .collect::<Result<_, _>>()?;
        match lateen_config::re2::examine(&String::from_utf8(bytes)?) {
            Ok(accepted) => println!("{} {}", accepted.size, accepted.groups),
            Err(error) => println!("{error:?}"),
        }
    }
    Ok(())
}
