//! The rights that the flush identity needs, as the line that grants them and nothing more, for the version of Redis that runs.

use std::fmt::Write;

/// The first Redis that removes (`UNLINK`) under rights as they are asked for here, and the first whose rights know selectors.
const LEAST: (u32, u32) = (6, 2);
const SELECTORS_FROM: u32 = 7;

/// Commands of the flush identity. `+client|setinfo` is left out: 7.0 refuses the whole line for it.
const COMMANDS: &str = "+ping +hello +auth +select +role +info +acl|whoami +client|setname +client|id +scan +type +exists +pttl +pexpire \
                        +unlink +memory|usage +wait +cluster|slots +cluster|shards +cluster|nodes +asking +readonly";

/// The command that makes `user` what it has to be, for keys that begin with one of `first_segments` and `delimiter`, and for raising these
/// `generations`, which a Redis before 7 cannot allow alone, so there they are left out.
pub fn acl_line(version: &str, user: &str, first_segments: &[Vec<u8>], delimiter: u8, generations: &[&str]) -> String {
    let mut keys = String::new();
    for segment in first_segments {
        let mut pattern = crate::server::redis::keys::glob_escaped(segment);
        pattern.push(delimiter);
        pattern.push(b'*');
        let _ = write!(keys, "{} ", key_right(&pattern));
    }
    let mut line = format!("ACL SETUSER {user} reset on >SECRET {keys}resetchannels -@all {COMMANDS}");
    if let Some(selector) = generation_selector(generations).filter(|_| parts(version).0 >= SELECTORS_FROM) {
        line = format!("{line} {selector}");
    }
    line
}

/// The right to the keys that `pattern` matches, as one word of redis-cli. Redis takes no pattern with white space or a zero byte in it: there
/// any byte is allowed.
fn key_right(pattern: &[u8]) -> String {
    let bytes = pattern.iter().map(|&byte| if byte == 0 || byte.is_ascii_whitespace() || byte == 0x0b { b'?' } else { byte });
    let right: Vec<u8> = std::iter::once(b'~').chain(bytes).collect();
    if right.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'')) {
        return right.into_iter().map(char::from).collect();
    }
    let mut word = String::from("\"");
    for byte in right {
        match byte {
            b'"' | b'\\' => word.extend(['\\', char::from(byte)]),
            b'!'..=b'~' => word.push(char::from(byte)),
            _ => {
                let _ = write!(word, "\\x{byte:02x}");
            }
        }
    }
    word.push('"');
    word
}

/// Whether a Redis of that version can be flushed by an identity of least privilege.
pub fn is_supported(version: &str) -> bool {
    parts(version) >= LEAST
}

/// Major and minor number.
pub fn parts(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The selector that lets a user raise these generations and nothing else; none where there are none.
fn generation_selector(generations: &[&str]) -> Option<String> {
    let mut selector = String::from("(+incr");
    let mut keys: Vec<&str> = generations.iter().copied().filter(|key| !key.contains([' ', '"', '(', ')'])).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in &keys {
        let _ = write!(selector, " ~{}", String::from_utf8_lossy(&crate::server::redis::keys::glob_escaped(key.as_bytes())));
    }
    (!keys.is_empty()).then(|| selector + ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_prefixes_and_no_forbidden_command() {
        let line = acl_line("7.0.15", "sw_flush", &[b"user".to_vec(), b"a*b".to_vec()], b':', &["gen:user"]);
        assert!(line.starts_with("ACL SETUSER sw_flush reset on >SECRET ~user:* ~a\\*b:* resetchannels -@all +ping "));
        assert!(line.ends_with(" +readonly (+incr ~gen:user)"), "{line}");
        for forbidden in ["+keys", "+flush", "+del", "+eval", "+swapdb", "setinfo", "+@"] {
            assert!(!line.contains(forbidden), "{forbidden}");
        }
        let old = acl_line("6.2.14", "sw_flush", &[b"user".to_vec()], b':', &["gen:user"]);
        assert!(old.ends_with(" +readonly"), "rights before 7 know no selectors: {old}");
        assert_eq!(["6.0.16", "6.2.0", "7.0.15", "10.1.0", ""].map(is_supported), [false, true, true, true, false]);
    }
}
