//! The second factor: when it has to be shown, and how recovery codes are read. The codes of an app are the server's matter.

use chrono::{DateTime, TimeDelta, Utc};

/// A factor shown this lately need not be shown again.
pub const FRESH_FOR: TimeDelta = TimeDelta::minutes(5);
/// Recovery codes that somebody gets.
pub const RECOVERY_CODES: usize = 10;
/// Letters of a recovery code; 32 kinds of letters make 80 bits.
pub const RECOVERY_LETTERS: usize = 16;
/// Crockford's: none of them reads like another.
pub const RECOVERY_ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Where a signed-in person stands with their second factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Factor {
    /// They have one, and have shown so once.
    pub enrolled: bool,
    /// When it was last shown in this session.
    pub shown_at: Option<DateTime<Utc>>,
}

/// What has to be shown before a flush starts or is approved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Due {
    #[default]
    Nothing,
    /// A code.
    Code,
    /// Everybody needs a second factor here, and this person has none yet.
    Enrolment,
}

impl Factor {
    /// `required`: everybody needs one.
    pub fn due(self, required: bool, now: DateTime<Utc>) -> Due {
        match self.shown_at {
            _ if !self.enrolled => {
                if required {
                    Due::Enrolment
                } else {
                    Due::Nothing
                }
            }
            // One shown in the future is a clock put back, and proves nothing.
            Some(at) if at <= now && now - at <= FRESH_FOR => Due::Nothing,
            _ => Due::Code,
        }
    }
}

/// What was typed, as one of the two kinds of codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypedCode {
    /// Six digits of an app.
    App(String),
    /// A recovery code in its stored writing.
    Recovery(String),
    /// Neither.
    Other,
}

/// Reads a code as people type it: grouped, in capitals, an O for a zero.
pub fn read_code(typed: &str) -> TypedCode {
    let letters: String = typed.chars().filter(|letter| !letter.is_whitespace() && *letter != '-').take(RECOVERY_LETTERS + 1).collect();
    if letters.len() == 6 && letters.bytes().all(|byte| byte.is_ascii_digit()) {
        return TypedCode::App(letters);
    }
    let letters: String = letters
        .to_ascii_lowercase()
        .chars()
        .map(|letter| match letter {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        })
        .collect();
    if letters.len() == RECOVERY_LETTERS && letters.bytes().all(|byte| RECOVERY_ALPHABET.contains(&byte)) {
        TypedCode::Recovery(letters)
    } else {
        TypedCode::Other
    }
}

/// In groups of four, as it is read aloud and copied.
pub fn grouped(text: &str, between: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn whoever_has_one_shows_it_again_after_five_minutes() {
        let shown = |seconds| Factor { enrolled: true, shown_at: Some(at(seconds)) };
        assert_eq!(Factor { enrolled: true, shown_at: None }.due(false, at(0)), Due::Code);
        assert_eq!(shown(0).due(false, at(0)), Due::Nothing);
        assert_eq!(shown(0).due(true, at(300)), Due::Nothing);
        assert_eq!(shown(0).due(true, at(301)), Due::Code);
        assert_eq!(shown(1).due(false, at(0)), Due::Code, "a clock put back");
    }

    #[test]
    fn who_has_none_is_asked_for_one_only_where_everybody_needs_one() {
        let none = Factor { enrolled: false, shown_at: Some(at(0)) };
        assert_eq!((none.due(false, at(0)), none.due(true, at(0))), (Due::Nothing, Due::Enrolment));
    }

    #[test]
    fn codes_are_read_as_people_type_them() {
        assert_eq!(read_code(" 123 456 "), TypedCode::App("123456".into()));
        assert_eq!(read_code("K7F2-9XQM-3OPD-WIL0"), TypedCode::Recovery("k7f29xqm30pdw110".into()));
        for other in
            ["", "12345", "1234567", "k7f2-9xqm-3hpd", "k7f2-9xqm-3hpd-w8t!", "k7f2-9xqm-3hpd-w8tz-0", "١٢٣٤٥٦", "k7f2-9xqm-3upd-w8tz"]
        {
            assert_eq!(read_code(other), TypedCode::Other, "{other}");
        }
    }

    #[test]
    fn long_texts_stand_in_groups_of_four() {
        assert_eq!(grouped("abcdefghij", " "), "abcd efgh ij");
        assert_eq!(grouped("", "-"), "");
    }
}
