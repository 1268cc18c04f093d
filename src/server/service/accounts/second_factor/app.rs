//! The authenticator app's side: what it is told, and which time step a code belongs to. And recovery codes, for when there is no app.

use super::super::{random_bytes, sha256};
use crate::domain::second_factor::{RECOVERY_ALPHABET, RECOVERY_CODES, RECOVERY_LETTERS, grouped};
use chrono::{DateTime, Utc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use totp_rs::{Algorithm, Builder, Secret, Totp};

/// Bytes of an app's secret, as RFC 4226 recommends.
pub const SECRET_BYTES: usize = 20;
/// What every authenticator app understands.
const DIGITS: u8 = 6;
const STEP_S: u64 = 30;
/// A phone's clock may be this many steps off, either way.
const SKEW: u16 = 1;

fn totp(secret: &[u8]) -> Option<Totp> {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(DIGITS)
        .with_skew(SKEW)
        .with_step_duration(STEP_S)
        .with_secret(Secret::from(secret))
        .build()
        .ok()
}

/// The time step that this code belongs to, if it is one of now.
pub fn step_of(secret: &[u8], code: &str, now: DateTime<Utc>) -> Option<i64> {
    let step = totp(secret)?.check(code, u64::try_from(now.timestamp()).ok()?)?;
    i64::try_from(step).ok()
}

/// The secret as people type it into an app: base32 in groups of four.
pub fn written(secret: &[u8]) -> String {
    grouped(&Secret::from(secret).to_base32(), " ")
}

/// The address that an app reads, from a picture or a link.
pub fn uri(secret: &[u8], email: &str) -> String {
    let label = utf8_percent_encode(email, NON_ALPHANUMERIC);
    let secret = Secret::from(secret).to_base32();
    format!("otpauth://totp/Stalewatch:{label}?secret={secret}&issuer=Stalewatch&algorithm=SHA1&digits={DIGITS}&period={STEP_S}")
}

/// New recovery codes.
pub fn recovery_codes() -> Vec<String> {
    let code = || {
        let bytes = random_bytes::<RECOVERY_LETTERS>();
        bytes.iter().map(|byte| char::from(RECOVERY_ALPHABET[usize::from(byte % 32)])).collect()
    };
    std::iter::repeat_with(code).take(RECOVERY_CODES).collect()
}

/// A recovery code as stored. It has 80 bits, so that nobody finds it by trying.
pub fn recovery_hash(user_id: i64, code: &str) -> Vec<u8> {
    sha256(format!("{user_id}:{code}").as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::second_factor::{TypedCode, read_code};
    use std::collections::BTreeSet;

    /// The secret of RFC 6238, appendix B.
    const SECRET: &[u8] = b"12345678901234567890";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_code_counts_one_step_early_and_one_step_late() {
        // The six last digits of the appendix's value for 1,111,111,109 s, the last second but one of step 37,037,036.
        let (code, step) = ("081804", 37_037_036);
        let (first, last) = (step * 30, step * 30 + 29);
        assert_eq!(step_of(SECRET, code, at(1_111_111_109)), Some(step));
        for second in [first - 30, first, last, last + 30] {
            assert_eq!(step_of(SECRET, code, at(second)), Some(step), "{second}");
        }
        for second in [first - 31, last + 31, -1, 0] {
            assert_eq!(step_of(SECRET, code, at(second)), None, "{second}");
        }
        for wrong in ["081805", "81804", "0818040", "", "O81804"] {
            assert_eq!(step_of(SECRET, wrong, at(first)), None, "{wrong}");
        }
    }

    #[test]
    fn an_app_is_told_everything() {
        assert_eq!(written(SECRET), "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ");
        assert_eq!(
            uri(SECRET, "mara+x@example.com"),
            "otpauth://totp/Stalewatch:mara%2Bx%40example%2Ecom?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Stalewatch&algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn recovery_codes_differ_and_are_read_back_from_their_groups() {
        let codes = recovery_codes();
        assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), RECOVERY_CODES);
        for code in &codes {
            assert_eq!(read_code(&grouped(code, "-").to_uppercase()), TypedCode::Recovery(code.clone()));
        }
        assert_ne!(recovery_hash(1, &codes[0]), recovery_hash(2, &codes[0]), "each person's are their own");
    }
}
