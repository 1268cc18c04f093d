//! Checkpoints: signed notes that say how long the chain was and with which hash it ended, in an append-only file outside Postgres, so that
//! whoever can change the tables cannot shorten the record unseen. Text as in C2SP `signed-note` and `tlog-checkpoint`, with the chain's
//! last hash in the place of a tree's root.
//!
//! A note is `origin`, number, hash in base64 and `time …`, an empty line, then `— name signature`. Notes are parted by an empty line.

use super::super::accounts::{random_bytes, sha256};
use crate::domain::audit::Hash;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The algorithm's number in a signed note.
const ED25519: u8 = 1;
/// Enough for the last two notes.
const TAIL_BYTES: u64 = 2048;

/// What one note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub seq: i64,
    pub hash: Hash,
    pub at: DateTime<Utc>,
}

/// The file of notes in a data folder.
pub fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("audit").join("checkpoints")
}

fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("audit").join("checkpoint.key")
}

/// The public key, as signed notes write it; give it to whoever verifies.
pub fn public_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("audit").join("checkpoint.pub")
}

/// Why checkpoints cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: io::Error },
    #[error("{0} is not a key that Stalewatch wrote")]
    BadKey(PathBuf),
    #[error("{0} is missing, so the checkpoints beside it prove nothing")]
    NoKey(PathBuf),
    #[error("{0} is missing although its key is there: somebody moved or removed the checkpoints")]
    NoFile(PathBuf),
    #[error("writing a checkpoint broke down: {0}")]
    Broken(String),
    #[error("note {number} in {path} is not signed with this key, or not a note")]
    BadNote { path: PathBuf, number: usize },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |cause| CheckpointError::Io { path, cause }
}

/// Signs notes and appends them to the file.
pub struct Anchor {
    key: SigningKey,
    name: String,
    path: PathBuf,
}

fn name_of(key: &VerifyingKey) -> String {
    let id = sha256(key.as_bytes());
    format!("stalewatch/audit/{:02x}{:02x}{:02x}{:02x}", id[0], id[1], id[2], id[3])
}

/// The four bytes by which a signature names its key.
fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let mut text = format!("{name}\n").into_bytes();
    text.push(ED25519);
    text.extend_from_slice(key.as_bytes());
    let hash = sha256(&text);
    [hash[0], hash[1], hash[2], hash[3]]
}

impl Anchor {
    /// Opens the folder's key, or makes one the first time.
    pub fn open(data_dir: &Path) -> Result<Self, CheckpointError> {
        let folder = data_dir.join("audit");
        fs::create_dir_all(&folder).map_err(io_error(&folder))?;
        let key_path = key_file(data_dir);
        let key = match fs::read_to_string(&key_path) {
            Ok(text) => {
                let bytes = BASE64_STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                SigningKey::from_bytes(&bytes.ok_or_else(|| CheckpointError::BadKey(key_path.clone()))?)
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let key = SigningKey::from_bytes(&random_bytes::<32>());
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key_path).map_err(io_error(&key_path))?;
                writeln!(file, "{}", BASE64_STANDARD.encode(key.to_bytes())).map_err(io_error(&key_path))?;
                file.sync_all().map_err(io_error(&key_path))?;
                key
            }
            Err(cause) => return Err(io_error(&key_path)(cause)),
        };
        let public = key.verifying_key();
        let name = name_of(&public);
        let public_path = public_key_file(data_dir);
        if !public_path.exists() {
            let id = u32::from_be_bytes(key_id(&name, &public));
            let mut bytes = vec![ED25519];
            bytes.extend_from_slice(public.as_bytes());
            fs::write(&public_path, format!("{name}+{id:08x}+{}\n", BASE64_STANDARD.encode(bytes))).map_err(io_error(&public_path))?;
        }
        Ok(Self { key, name, path: file(data_dir) })
    }

    /// Appends one note and waits until it is on the disk.
    pub fn append(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let text = text(&self.name, checkpoint);
        let mut signature = key_id(&self.name, &self.key.verifying_key()).to_vec();
        signature.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        let note = format!("{text}\n— {} {}\n\n", self.name, BASE64_STANDARD.encode(signature));
        let mut file = OpenOptions::new().append(true).create(true).mode(0o644).open(&self.path).map_err(io_error(&self.path))?;
        file.write_all(note.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error(&self.path))
    }
}

fn text(origin: &str, checkpoint: &Checkpoint) -> String {
    let at = checkpoint.at.to_rfc3339_opts(SecondsFormat::Micros, true);
    format!("{origin}\n{}\n{}\ntime {at}\n", checkpoint.seq, BASE64_STANDARD.encode(checkpoint.hash))
}

/// All notes of the folder, each with its signature checked; none where nothing was ever signed. A last note that was cut off by a crash is
/// passed over.
pub fn read_all(data_dir: &Path) -> Result<Vec<Checkpoint>, CheckpointError> {
    let (path, public_path) = (file(data_dir), public_key_file(data_dir));
    let (notes, public) = (read_optional(&path)?, read_optional(&public_path)?);
    let (notes, public) = match (notes, public) {
        (None, None) => return Ok(Vec::new()),
        (Some(_), None) => return Err(CheckpointError::NoKey(public_path)),
        // The key is made before the first note; a chain that was never anchored has no key either.
        (None, Some(_)) => return Err(CheckpointError::NoFile(path)),
        (Some(notes), Some(public)) => (notes, public),
    };
    let (name, key) = parse_public(&public).ok_or(CheckpointError::BadKey(public_path))?;
    let whole = notes.rfind("\n\n").map_or("", |end| &notes[..end + 2]);
    let parts: Vec<&str> = whole.split_terminator("\n\n").collect();
    let mut checkpoints = Vec::new();
    // Text and signature by turns; a text whose signature was cut off stands alone at the end.
    for pair in parts.chunks_exact(2) {
        let (body, signature) = (pair[0], pair[1]);
        let number = checkpoints.len() + 1;
        let checkpoint =
            check(&name, &key, &format!("{body}\n"), signature).ok_or(CheckpointError::BadNote { path: path.clone(), number })?;
        checkpoints.push(checkpoint);
    }
    Ok(checkpoints)
}

fn read_optional(path: &Path) -> Result<Option<String>, CheckpointError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io_error(path)(cause)),
    }
}

/// `name+id+base64(algorithm, key)`.
fn parse_public(text: &str) -> Option<(String, VerifyingKey)> {
    let mut parts = text.trim().splitn(3, '+');
    let (name, _id, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = BASE64_STANDARD.decode(encoded).ok()?;
    let (&ED25519, key) = bytes.split_first()? else { return None };
    Some((name.to_owned(), VerifyingKey::from_bytes(key.try_into().ok()?).ok()?))
}

fn check(name: &str, key: &VerifyingKey, text: &str, signature: &str) -> Option<Checkpoint> {
    let encoded = signature.strip_prefix("— ")?.strip_prefix(name)?.strip_prefix(' ')?;
    let bytes = BASE64_STANDARD.decode(encoded.trim_end()).ok()?;
    let (id, signed) = bytes.split_at_checked(4)?;
    if id != key_id(name, key) {
        return None;
    }
    key.verify_strict(text.as_bytes(), &Signature::from_slice(signed).ok()?).ok()?;
    let checkpoint = parse(text)?;
    text.starts_with(&format!("{name}\n")).then_some(checkpoint)
}

fn parse(text: &str) -> Option<Checkpoint> {
    let mut lines = text.lines();
    let _origin = lines.next()?;
    let seq = lines.next()?.parse().ok()?;
    let hash = BASE64_STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
    let at = DateTime::parse_from_rfc3339(lines.next()?.strip_prefix("time ")?).ok()?.with_timezone(&Utc);
    Some(Checkpoint { seq, hash, at })
}

/// Gives the file another name, so that the next note begins a new one.
pub fn set_aside(data_dir: &Path, now: DateTime<Utc>) -> Result<(), CheckpointError> {
    let path = file(data_dir);
    let aside = path.with_extension(format!("until-{}", now.format("%Y%m%dT%H%M%S%fZ")));
    match fs::rename(&path, &aside) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(io_error(&path)(cause)),
        _ => Ok(()),
    }
}

/// The last whole note, unchecked: for showing how far the chain is anchored and how long ago.
pub fn last(data_dir: &Path) -> Option<Checkpoint> {
    let mut file = File::open(file(data_dir)).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    let tail = String::from_utf8_lossy(&bytes).into_owned();
    let whole = &tail[..tail.rfind("\n\n")?];
    let parts: Vec<&str> = whole.split("\n\n").collect();
    // The text before the last whole signature; after it may come a text whose own was cut off.
    let signature = parts.iter().rposition(|part| part.starts_with("— "))?;
    parse(parts.get(signature.checked_sub(1)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(seq: i64) -> Checkpoint {
        Checkpoint { seq, hash: [u8::try_from(seq % 256).unwrap(); 32], at: DateTime::UNIX_EPOCH }
    }

    #[test]
    fn notes_come_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_all(dir.path()).unwrap().is_empty());
        let signer = Anchor::open(dir.path()).unwrap();
        for seq in 1..=20 {
            signer.append(&checkpoint(seq)).unwrap();
        }
        // A second process finds the same key.
        Anchor::open(dir.path()).unwrap().append(&checkpoint(21)).unwrap();
        let all = read_all(dir.path()).unwrap();
        assert_eq!(all.len(), 21);
        assert_eq!(all[4], checkpoint(5));
        assert_eq!(last(dir.path()), Some(checkpoint(21)));
    }

    #[test]
    fn a_changed_note_is_refused_and_a_torn_one_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Anchor::open(dir.path()).unwrap();
        signer.append(&checkpoint(1)).unwrap();
        signer.append(&checkpoint(2)).unwrap();
        let path = file(dir.path());
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 30]).unwrap();
        assert_eq!(read_all(dir.path()).unwrap(), [checkpoint(1)]);
        assert_eq!(last(dir.path()), Some(checkpoint(1)));
        fs::write(&path, whole.replacen("\n1\n", "\n9\n", 1)).unwrap();
        assert!(matches!(read_all(dir.path()), Err(CheckpointError::BadNote { number: 1, .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(read_all(dir.path()), Err(CheckpointError::NoFile(_))));
    }
}
