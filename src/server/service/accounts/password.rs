//! Passwords: argon2id on blocking threads behind a semaphore, and generated ones.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shorter passwords are refused; the throttle does the rest.
pub const PASSWORD_MIN_CHARS: usize = 8;
/// Longer ones are refused, so that nobody makes the server hash megabytes.
pub const PASSWORD_MAX_BYTES: usize = 1024;

/// 19 MiB, two passes, one lane: the first recommendation of OWASP's password storage cheat sheet.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Hashes at once: each takes a core and 19 MiB.
const AT_ONCE: usize = 2;

/// No password has this hash; checked against when there is no such account, so that both take the same time.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c3RhbGV3YXRjaC1ub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Makes and checks password hashes, a few at a time.
pub struct Hasher(Arc<Semaphore>);

impl Default for Hasher {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Hasher {
    /// Waits for a place. Whoever holds one may check a password with it.
    pub async fn place(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.0).acquire_owned().await.expect("this semaphore is never closed")
    }

    /// The PHC text of a new hash with its own salt.
    pub async fn hash(&self, password: &str) -> String {
        let place = self.place().await;
        let password = password.to_owned();
        blocking(move || {
            let _place = place;
            argon2().hash_password(password.as_bytes()).expect("the parameters are valid").to_string()
        })
        .await
    }

    /// Whether the password has that hash; with none, the same work for a certain no. The place is given back by the caller.
    pub async fn verify(&self, _place: &OwnedSemaphorePermit, password: &str, hash: Option<&str>) -> bool {
        let password = password.to_owned();
        let known = hash.is_some();
        let hash = hash.unwrap_or(NOBODY).to_owned();
        blocking(move || {
            let Ok(parsed) = PasswordHash::new(&hash) else {
                tracing::error!("a stored password hash cannot be read");
                return false;
            };
            argon2().verify_password(password.as_bytes(), &parsed).is_ok() && known
        })
        .await
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are valid");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// A password of 20 letters and digits, 119 bits: nothing in it needs escaping in a URL or a shell.
pub fn generate() -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut password = String::with_capacity(20);
    while password.len() < 20 {
        for byte in super::random_bytes::<32>() {
            // 248 = 4 · 62: the rest would make some letters likelier than others.
            if byte < 248 && password.len() < 20 {
                password.push(char::from(LETTERS[usize::from(byte) % 62]));
            }
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_fits_its_hash() {
        let hasher = Hasher::default();
        let hash = hasher.hash("correct horse").await;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let place = hasher.place().await;
        assert!(hasher.verify(&place, "correct horse", Some(&hash)).await);
        assert!(!hasher.verify(&place, "wrong horse", Some(&hash)).await);
        assert!(!hasher.verify(&place, "correct horse", None).await);
    }

    #[test]
    fn nobodys_hash_is_of_the_same_cost() {
        let parsed = PasswordHash::new(NOBODY).unwrap();
        assert_eq!(Params::try_from(&parsed).unwrap().m_cost(), MEMORY_KIB);
    }

    #[test]
    fn generated_passwords_are_letters_and_digits_and_differ() {
        let (one, other) = (generate(), generate());
        assert_eq!(one.len(), 20);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(one, other);
    }
}
