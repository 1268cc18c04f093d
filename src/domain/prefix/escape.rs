//! Escaped text: how bytes are written on pages, in forms and in the configuration.
//!
//! Printable ASCII (a space too) stands for itself, `\\` is a backslash, anything else is `\xHH`. Written lower case, read in either. On
//! reading, a letter outside ASCII stands for its UTF-8 bytes, so that a pasted key means what it looks like.

use std::fmt::Write as _;

/// Why a text is not escaped text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscapeError {
    #[error("a backslash is written \\\\ and any other byte \\xHH; at character {at} there is neither")]
    Backslash { at: usize },
    #[error("the control character at character {at} is written \\xHH")]
    Control { at: usize },
}

/// Writes bytes as escaped text, the canonical form.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        push_escaped(&mut text, byte);
    }
    text
}

pub(super) fn push_escaped(text: &mut String, byte: u8) {
    match byte {
        b'\\' => text.push_str("\\\\"),
        b' '..=b'~' => text.push(char::from(byte)),
        // Writing to a String cannot fail.
        _ => {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
}

/// Reads escaped text back into bytes.
pub fn unescape(text: &str) -> Result<Vec<u8>, EscapeError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut reader = Reader::new(text);
    while let Some(unit) = reader.next_unit()? {
        match unit {
            Unit::Plain(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Unit::Escaped(byte) => bytes.push(byte),
        }
    }
    Ok(bytes)
}

/// One written unit: a character that stands for itself, or an escape sequence for one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Plain(char),
    Escaped(u8),
}

/// Reads escaped text unit by unit; the template parser needs to know which braces were escaped.
pub(super) struct Reader<'a> {
    rest: std::str::Chars<'a>,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.chars(), at: 0 }
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.at += 1;
        Some(c)
    }

    pub(super) fn next_unit(&mut self) -> Result<Option<Unit>, EscapeError> {
        let Some(c) = self.bump() else { return Ok(None) };
        let at = self.at;
        if c.is_control() {
            return Err(EscapeError::Control { at });
        }
        if c != '\\' {
            return Ok(Some(Unit::Plain(c)));
        }
        let byte = match self.bump() {
            Some('\\') => b'\\',
            Some('x') => {
                let high = self.bump().and_then(|c| c.to_digit(16));
                let low = self.bump().and_then(|c| c.to_digit(16));
                match (high, low) {
                    (Some(high), Some(low)) => u8::try_from(high * 16 + low).map_err(|_| EscapeError::Backslash { at })?,
                    _ => return Err(EscapeError::Backslash { at }),
                }
            }
            _ => return Err(EscapeError::Backslash { at }),
        };
        Ok(Some(Unit::Escaped(byte)))
    }

    /// Whether the next character is a plain `c`; takes it if so.
    pub(super) fn take(&mut self, c: char) -> bool {
        if self.rest.as_str().starts_with(c) {
            self.bump();
            true
        } else {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_ascii_stands_for_itself() {
        assert_eq!(escape(b"user:42 {a}*"), "user:42 {a}*");
    }

    #[test]
    fn backslash_and_other_bytes_are_escaped_in_lower_case() {
        assert_eq!(escape(b"a\\b\0\xff\n"), "a\\\\b\\x00\\xff\\x0a");
    }

    #[test]
    fn hex_is_read_in_either_case() {
        assert_eq!(unescape("\\xFF\\xfF").unwrap(), [255, 255]);
    }

    #[test]
    fn letters_outside_ascii_are_their_utf8_bytes() {
        assert_eq!(unescape("é").unwrap(), "é".as_bytes());
        assert_eq!(escape("é".as_bytes()), "\\xc3\\xa9");
    }

    #[test]
    fn half_escapes_and_control_characters_are_refused_with_their_place() {
        assert_eq!(unescape("ab\\q"), Err(EscapeError::Backslash { at: 3 }));
        assert_eq!(unescape("\\x4"), Err(EscapeError::Backslash { at: 1 }));
        assert_eq!(unescape("\\"), Err(EscapeError::Backslash { at: 1 }));
        assert_eq!(unescape("a\tb"), Err(EscapeError::Control { at: 2 }));
    }
}
