//! What goes wrong, in words short enough for a status message.

use std::cell::Cell;
use std::panic::{catch_unwind, set_hook, AssertUnwindSafe};
use std::sync::Once;

const MESSAGE_BYTES_MAX: usize = 512;

#[derive(Debug, PartialEq)]
pub enum Error {
    /// The caller's input is at fault.
    Invalid(String),
    /// A panic: a bug here or in a crate.
    Internal(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn invalid(message: impl std::fmt::Display) -> Error {
        Error::Invalid(shorten(message.to_string()))
    }

    pub fn message(&self) -> &str {
        match self {
            Error::Invalid(message) | Error::Internal(message) => message,
        }
    }
}

fn shorten(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&i| message.is_char_boundary(i)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

thread_local! {
    static PANIC_AT: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs `f`; a panic becomes `Error::Internal` that names the place alone: a panic's own message may quote a prompt.
pub fn catch<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        set_hook(Box::new(|info| {
            let place = info.location().map(|at| {
                let file = at.file().rsplit('/').next().unwrap_or_default();
                format!("{file}:{}", at.line())
            });
            PANIC_AT.set(place);
        }));
    });
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        let place = PANIC_AT.take().unwrap_or_else(|| "an unknown place".to_string());
        Err(Error::Internal(format!("panic at {place}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_without_its_message() {
        let error = catch::<()>(|| panic!("secret prompt")).unwrap_err();
        assert!(matches!(&error, Error::Internal(m) if m.starts_with("panic at error.rs:") && !m.contains("secret")));
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let error = Error::invalid("é".repeat(1000));
        assert!(error.message().len() <= MESSAGE_BYTES_MAX + '…'.len_utf8() && error.message().ends_with("é…"));
    }
}
