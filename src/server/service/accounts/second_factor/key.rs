//! The key under which secrets lie in Postgres, so that a dump of the database alone shows nobody's second factor. It stands in
//! `secret_key_file`, which several replicas share, or else in the data folder.

use super::super::random_bytes;
use crate::server::config::Config;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes of a nonce, drawn anew for each secret; the ciphertext follows it.
const NONCE: usize = 24;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: io::Error },
    #[error("{0} does not hold a key, which is 32 bytes in base64")]
    BadKey(PathBuf),
    #[error("it is not the key that second factors here were sealed with")]
    AnotherKey,
}

/// Seals and opens secrets.
pub struct SealKey([u8; 32]);

/// Where the key is kept unless the configuration names a file.
fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("secret.key")
}

impl SealKey {
    /// The key; None where none was made yet.
    pub fn find(config: &Config) -> Result<Option<Self>, KeyError> {
        let path = file(&config.data_dir);
        if let Some(key) = &config.secret_key {
            return Self::read(key.expose(), &path).map(Some);
        }
        match fs::read_to_string(&path) {
            Ok(text) => Self::read(&text, &path).map(Some),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(KeyError::Io { path, cause }),
        }
    }

    /// Makes the data folder's key, as a whole or not at all; one that somebody else made meanwhile stands.
    pub fn make(config: &Config) -> Result<Self, KeyError> {
        let path = file(&config.data_dir);
        let made = || {
            fs::create_dir_all(&config.data_dir)?;
            // Made with mode 0600.
            let mut draft = tempfile::NamedTempFile::new_in(&config.data_dir)?;
            writeln!(draft, "{}", BASE64_STANDARD.encode(random_bytes::<32>()))?;
            draft.as_file().sync_all()?;
            match draft.persist_noclobber(&path) {
                Err(refused) if refused.error.kind() != io::ErrorKind::AlreadyExists => Err(refused.error),
                _ => fs::File::open(&config.data_dir)?.sync_all(),
            }
        };
        made().map_err(|cause| KeyError::Io { path: path.clone(), cause })?;
        Self::find(config)?.ok_or(KeyError::BadKey(path))
    }

    fn read(text: &str, path: &Path) -> Result<Self, KeyError> {
        let bytes = BASE64_STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| KeyError::BadKey(path.to_owned()))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }

    /// Nonce, ciphertext and tag. It opens only with the same `bound_to`, so that nobody can move it to another person's row.
    pub fn seal(&self, bound_to: &str, secret: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<NONCE>();
        let payload = Payload { msg: secret, aad: bound_to.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).expect("a short text can be sealed");
        [nonce.as_slice(), &sealed].concat()
    }

    /// What was sealed under this key and bound so; None for everything else.
    pub fn open(&self, bound_to: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        self.cipher().decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: bound_to.as_bytes() }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Secret;
    use std::os::unix::fs::PermissionsExt as _;

    fn in_folder(folder: &tempfile::TempDir) -> Config {
        Config { data_dir: folder.path().join("data"), ..Config::default() }
    }

    #[test]
    fn a_secret_opens_under_its_key_for_its_person_only() {
        let (one, other) = (SealKey([1; 32]), SealKey([2; 32]));
        let sealed = one.seal("7", b"a secret");
        assert_eq!(sealed.len(), NONCE + 8 + 16);
        assert!(!sealed.windows(8).any(|part| part == b"a secret"));
        assert_ne!(sealed, one.seal("7", b"a secret"), "another nonce each time");
        assert_eq!(one.open("7", &sealed).as_deref(), Some(b"a secret".as_slice()));
        assert_eq!((one.open("8", &sealed), other.open("7", &sealed), one.open("7", b"short")), (None, None, None));
        let mut spoiled = sealed;
        spoiled[NONCE] ^= 1;
        assert_eq!(one.open("7", &spoiled), None);
    }

    #[test]
    fn the_folders_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = in_folder(&folder);
        assert!(SealKey::find(&config).unwrap().is_none());
        let made = SealKey::make(&config).unwrap();
        assert_eq!(SealKey::make(&config).unwrap().0, made.0, "one that is there stands");
        assert_eq!(SealKey::find(&config).unwrap().unwrap().0, made.0);
        assert_eq!(fs::metadata(file(&config.data_dir)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&config.data_dir).unwrap().count(), 1, "no draft is left");
        fs::write(file(&config.data_dir), "nonsense").unwrap();
        assert!(matches!(SealKey::find(&config), Err(KeyError::BadKey(_))));
    }

    #[test]
    fn a_configured_key_goes_before_the_folders() {
        let folder = tempfile::tempdir().unwrap();
        let config = in_folder(&folder);
        SealKey::make(&config).unwrap();
        let named = Config { secret_key: Some(Secret::new(BASE64_STANDARD.encode([9; 32]))), ..config };
        assert_eq!(SealKey::find(&named).unwrap().unwrap().0, [9; 32]);
    }
}
