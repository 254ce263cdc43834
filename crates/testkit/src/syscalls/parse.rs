//! Parses lines of `strace -f -y -o FILE` as system calls. Failed calls and other lines are skipped.

use std::collections::HashMap;

/// A successful system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// The thread.
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    /// The result, as strace prints it.
    pub(super) result: String,
    /// The lines on which the call started and ended, counted from 1.
    pub(super) begun: usize,
    pub(super) ended: usize,
}

impl Call {
    /// Returns the path of an argument that is a file descriptor, such as `5</path>`.
    pub(super) fn path_of(&self, argument: usize) -> Option<&str> {
        path_of_descriptor(self.arguments.get(argument)?)
    }

    /// Returns the path of the returned file descriptor.
    pub(super) fn opened(&self) -> Option<&str> {
        path_of_descriptor(&self.result)
    }

    /// Returns a string argument.
    pub(super) fn text(&self, argument: usize) -> Option<String> {
        let argument = self.arguments.get(argument)?;
        argument.starts_with('"').then(|| String::from_utf8_lossy(&strings(argument)).into_owned())
    }

    /// Returns the bytes of an argument that is a buffer or a list of buffers.
    pub(super) fn bytes(&self, argument: usize) -> Vec<u8> {
        self.arguments.get(argument).map(|argument| strings(argument)).unwrap_or_default()
    }
}

/// Returns all calls of a trace, in the order in which they ended.
pub(super) fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished: HashMap<(u32, String), (usize, String)> = HashMap::new();
    let mut calls = vec![];
    for (number, line) in (1..).zip(trace.lines()) {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let (Ok(pid), rest) = (pid.parse::<u32>(), rest.trim_start()) else { continue };
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            let name = begun.split('(').next().unwrap_or_default().to_owned();
            unfinished.insert((pid, name), (number, begun.trim_end().to_owned()));
        } else if let Some((name, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            if let Some((begun, text)) = unfinished.remove(&(pid, name.to_owned())) {
                calls.extend(call(pid, &format!("{text}{end}"), begun, number));
            }
        } else {
            calls.extend(call(pid, rest, number, number));
        }
    }
    calls
}

fn call(pid: u32, text: &str, begun: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, rest) = arguments(rest)?;
    let result = rest.trim_start().strip_prefix('=')?.trim_start();
    let failed = result.starts_with('-') || result.starts_with('?');
    (!failed).then(|| Call { pid, name: name.to_owned(), arguments, result: result.to_owned(), begun, ended })
}

/// Returns the arguments up to the closing parenthesis, and the text after it.
fn arguments(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut arguments, mut depth, mut from, mut in_string, mut escaped, mut in_path) = (vec![], 0, 0, false, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '<' => in_path = true,
            '>' => in_path = false,
            _ if in_path => {}
            ')' if depth == 0 => {
                arguments.push(text[from..at].trim().to_owned());
                return Some((arguments, &text[at + 1..]));
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(text[from..at].trim().to_owned());
                from = at + 1;
            }
            _ => {}
        }
    }
    None
}

fn path_of_descriptor(text: &str) -> Option<&str> {
    let from = text.find('<')?;
    let to = text.rfind('>')?;
    text.get(from + 1..to).filter(|path| path.starts_with('/'))
}

/// Returns the concatenated strings in an argument.
fn strings(argument: &str) -> Vec<u8> {
    let (mut found, mut in_string) = (vec![], false);
    let mut rest = argument.bytes().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => match rest.next() {
                Some(b'n') => found.push(b'\n'),
                Some(b't') => found.push(b'\t'),
                Some(b'r') => found.push(b'\r'),
                Some(b'v') => found.push(0x0b),
                Some(b'f') => found.push(0x0c),
                Some(digit @ b'0'..=b'7') => {
                    let mut value = u32::from(digit - b'0');
                    for _ in 0..2 {
                        let Some(digit) = rest.next_if(|next| matches!(next, b'0'..=b'7')) else { break };
                        value = value * 8 + u32::from(digit - b'0');
                    }
                    found.extend(u8::try_from(value));
                }
                Some(other) => found.push(other),
                None => {}
            },
            other if in_string => found.push(other),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_paths_and_bytes() {
        let found = calls(r#"17 write(5</home/a, b.json>, "{\"a\":\"x, y)\"}\n\0\3772", 16) = 16"#);
        assert_eq!((found[0].pid, found[0].name.as_str(), found[0].path_of(0)), (17, "write", Some("/home/a, b.json")));
        assert_eq!(found[0].bytes(1), b"{\"a\":\"x, y)\"}\n\0\xff2");
    }

    #[test]
    fn a_call_that_another_interrupts_is_put_together() {
        let trace = "7 fsync(3</a> <unfinished ...>\n8 chdir(\"/b\") = 0\n7 <... fsync resumed>) = 0\n";
        let found = calls(trace);
        assert_eq!(found.iter().map(|call| (call.pid, call.begun, call.ended)).collect::<Vec<_>>(), [(8, 2, 2), (7, 1, 3)]);
        assert_eq!(found[1].path_of(0), Some("/a"));
    }

    #[test]
    fn what_failed_or_is_no_call_is_left_out() {
        let trace = "7 openat(AT_FDCWD</>, \"x\", O_RDONLY) = -1 ENOENT (No such file or directory)\n\
            7 --- SIGCHLD {si_signo=SIGCHLD} ---\n7 exit_group(0) = ?\n7 +++ exited with 0 +++\n";
        assert_eq!(calls(trace), []);
    }

    #[test]
    fn buffers_of_a_list_are_read_one_after_the_other() {
        let found = calls(r#"7 writev(9<socket:[4]>, [{iov_base="HTTP", iov_len=4}, {iov_base="/1.1", iov_len=4}], 2) = 8"#);
        assert_eq!((found[0].bytes(1), found[0].path_of(0)), (b"HTTP/1.1".to_vec(), None));
        let found = calls("7 openat(AT_FDCWD</>, \"a\", O_WRONLY|O_CREAT, 0600) = 5</a>\n");
        assert_eq!(found[0].opened(), Some("/a"));
    }
}
