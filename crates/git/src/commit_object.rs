//! A raw commit object, so that a rewritten commit keeps its author, dates, message and encoding byte for byte.
//!
//! Pure. Signatures are dropped, because they are only valid for the original commit.

use model::ids::ObjectId;

use super::makers::Signature;

/// A commit object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommitObject {
    bytes: Vec<u8>,
    /// The length of the header, including its last newline.
    header: usize,
    tree: ObjectId,
    parents: Vec<ObjectId>,
}

impl CommitObject {
    /// Parses a raw commit object.
    pub(super) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let header = bytes.windows(2).position(|pair| pair == b"\n\n").map_or(bytes.len(), |end| end + 1);
        let (mut tree, mut parents) = (None, vec![]);
        for line in bytes[..header].split(|&byte| byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            match line.split_once(' ') {
                Some(("tree", id)) if tree.is_none() => tree = id.parse().ok(),
                Some(("parent", id)) => parents.push(id.parse().ok()?),
                // The following lines can contain free text.
                Some(("author", _)) => break,
                Some(_) | None => {}
            }
        }
        Some(Self { tree: tree?, parents, header, bytes })
    }

    /// Creates a new commit.
    pub(super) fn new(tree: &ObjectId, parents: &[ObjectId], by: &Signature, seconds: i64, message: &str) -> Self {
        let by = signed(by, seconds);
        let mut bytes = head(tree, parents);
        bytes.extend_from_slice(format!("author {by}\ncommitter {by}\n").as_bytes());
        let header = bytes.len();
        bytes.push(b'\n');
        bytes.extend_from_slice(message.as_bytes());
        Self { tree: tree.clone(), parents: parents.to_vec(), header, bytes }
    }

    /// Returns the same commit with a different tree and parent.
    pub(super) fn on(&self, tree: &ObjectId, parent: &ObjectId, committer: &Signature, seconds: i64) -> Self {
        let parents = [parent.clone()];
        let mut bytes = head(tree, &parents);
        let kept = |name: &[u8]| {
            let mut lines = self.bytes[..self.header].split(|&byte| byte == b'\n');
            lines.find(|line| line.starts_with(name)).map(<[u8]>::to_vec)
        };
        let committer = format!("committer {}", signed(committer, seconds)).into_bytes();
        for line in [kept(b"author "), Some(committer), kept(b"encoding ")].into_iter().flatten() {
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
        }
        let header = bytes.len();
        bytes.extend_from_slice(&self.bytes[self.header..]);
        Self { tree: tree.clone(), parents: parents.to_vec(), header, bytes }
    }

    /// Returns the same commit with a signature at the end of its header. The length of object IDs decides the name of the line.
    pub(super) fn with_signature(&self, signature: &str, digits: usize) -> Self {
        let name = if digits == 64 { "gpgsig-sha256" } else { "gpgsig" };
        let lines = format!("{name} {}\n", signature.replace('\n', "\n "));
        let mut bytes = self.bytes[..self.header].to_vec();
        bytes.extend_from_slice(lines.as_bytes());
        let header = bytes.len();
        bytes.extend_from_slice(&self.bytes[self.header..]);
        Self { bytes, header, ..self.clone() }
    }

    /// Whether these are the author and the committer.
    pub(super) fn is_by(&self, author: &Signature, committer: &Signature) -> bool {
        let has = |role: &str, Signature { name, email }: &Signature| {
            let start = format!("{role} {name} <{email}> ").into_bytes();
            self.bytes[..self.header]
                .split(|&byte| byte == b'\n')
                .find(|line| line.starts_with(role.as_bytes()))
                .is_some_and(|line| line.starts_with(&start))
        };
        has("author", author) && has("committer", committer)
    }

    pub(super) fn tree(&self) -> &ObjectId {
        &self.tree
    }

    pub(super) fn parents(&self) -> &[ObjectId] {
        &self.parents
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn head(tree: &ObjectId, parents: &[ObjectId]) -> Vec<u8> {
    let parents = parents.iter().map(|parent| format!("parent {parent}\n"));
    std::iter::once(format!("tree {tree}\n")).chain(parents).collect::<Vec<_>>().concat().into_bytes()
}

fn signed(Signature { name, email }: &Signature, seconds: i64) -> String {
    format!("{name} <{email}> {seconds} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(digit: char) -> ObjectId {
        digit.to_string().repeat(40).parse().expect("an id")
    }

    fn stored() -> Vec<u8> {
        let (tree, parent) = ("a".repeat(40), "b".repeat(40));
        let mut bytes =
            format!("tree {tree}\nparent {parent}\nauthor J\u{fc}rg <j@x> 1 +0200\ncommitter C <c@x> 2 +0000\n").into_bytes();
        bytes.extend_from_slice(
            b"gpgsig -----BEGIN\n tree x\n -----END\nencoding ISO-8859-1\n\nGr\xfc\xdfe\n\ntree of life\n\nRun: 1\n",
        );
        bytes
    }

    #[test]
    fn a_commit_is_read_and_made_anew_with_all_that_is_its_own() {
        let commit = CommitObject::parse(stored()).expect("a commit");
        assert_eq!((commit.tree(), commit.parents()), (&sha('a'), &[sha('b')][..]));
        let made = commit.on(&sha('c'), &sha('d'), &Signature::default(), 7);
        let (tree, parent) = ("c".repeat(40), "d".repeat(40));
        let mut expect =
            format!("tree {tree}\nparent {parent}\nauthor J\u{fc}rg <j@x> 1 +0200\ncommitter Codex <codex@localhost> 7 +0000\n")
                .into_bytes();
        expect.extend_from_slice(b"encoding ISO-8859-1\n\nGr\xfc\xdfe\n\ntree of life\n\nRun: 1\n");
        assert_eq!(String::from_utf8_lossy(made.bytes()), String::from_utf8_lossy(&expect));
        assert_eq!(CommitObject::parse(made.bytes().to_vec()), Some(made));
    }

    #[test]
    fn a_signature_is_added_at_the_end_of_the_header() {
        let by = Signature::default();
        let commit = CommitObject::new(&sha('a'), &[sha('b')], &by, 7, "Do it\n");
        let signed = commit.with_signature("-----BEGIN\nx\n-----END", 40);
        let text = String::from_utf8_lossy(signed.bytes()).into_owned();
        assert!(text.ends_with("7 +0000\ngpgsig -----BEGIN\n x\n -----END\n\nDo it\n"), "{text}");
        assert_eq!(CommitObject::parse(signed.bytes().to_vec()), Some(signed));
        let other = Signature { name: "A".to_owned(), email: "a@b".to_owned() };
        assert!(commit.is_by(&by, &by) && !commit.is_by(&other, &by) && !commit.is_by(&by, &other));
    }

    #[test]
    fn a_new_one_can_be_read() {
        let commit = CommitObject::new(&sha('a'), &[sha('b'), sha('c')], &Signature::default(), 7, "Merge\n");
        assert_eq!(CommitObject::parse(commit.bytes().to_vec()), Some(commit));
        assert_eq!(CommitObject::parse(b"blob".to_vec()), None);
    }
}
