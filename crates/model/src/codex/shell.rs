//! Shows a command as the agent wrote it, without the shell that Codex wraps around it.
//!
//! The result is only for display. A command that cannot be unwrapped with certainty is shown unchanged.

use std::borrow::Cow;

use shlex::Shlex;

/// Unwraps `/bin/bash -lc 'ls -a'` to `ls -a`. Returns any other command unchanged.
pub fn unwrap_shell(command: &str) -> Cow<'_, str> {
    let Some(words) = split_words(command) else { return Cow::Borrowed(command) };
    let Ok([shell, flag, script]) = <[String; 3]>::try_from(words) else { return Cow::Borrowed(command) };
    let shell = shell.rsplit('/').next().unwrap_or_default();
    if matches!(shell, "bash" | "sh" | "zsh" | "dash") && matches!(flag.as_str(), "-lc" | "-c") {
        Cow::Owned(script)
    } else {
        Cow::Borrowed(command)
    }
}

/// Splits off up to four words and removes their quotes. Returns `None` if a quote is not closed, or if there is a comment, which
/// would be lost. Expands nothing.
fn split_words(command: &str) -> Option<Vec<String>> {
    let split = |command: &str| {
        let mut rest = Shlex::new(command);
        let words: Vec<_> = rest.by_ref().take(4).collect();
        (!rest.had_error).then_some(words)
    };
    let words = split(command)?;
    // Without its `#`, a comment adds words. A `#` in a word does not start a comment.
    let is_complete = split(&command.replace('#', "_"))?.len() == words.len();
    is_complete.then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &str, expect: &str) {
        assert_eq!(unwrap_shell(command), expect, "{command:?}");
    }

    #[test]
    fn the_wrapper_goes_and_the_quoting_with_it() {
        check("/bin/bash -lc 'echo out; echo err >&2'", "echo out; echo err >&2");
        check("/bin/bash -lc ls", "ls");
        check("bash -lc \"grep -E 'a|b' \\\"$x\\\" \\$y c\\d\"", "grep -E 'a|b' \"$x\" $y c\\d");
        check("/usr/bin/zsh -c 'it'\\''s'", "it's");
        check("/bin/sh -c 'cat <<EOF\nhello\nEOF\n'", "cat <<EOF\nhello\nEOF\n");
        check("bash\t -lc\n'# a comment\nls # another' ", "# a comment\nls # another");
        check("bash -lc a#b", "a#b");
        check("bash -lc ''", "");
        check("bash -lc \"it's 100 \\`$y\\` \\\\ü\"'!'", "it's 100 `$y` \\ü!");
    }

    #[test]
    fn what_is_not_a_wrapper_stays_as_it_is() {
        for command in [
            "",
            "ls -a",
            "bash script.sh",
            "/bin/bash -lc 'open",
            "bash -lc 'a' b",
            "python -c 'print(1)'",
            "sh -x 'a'",
            "bash -lc ls # why",
            "bash -lc # why",
            "bash -lc ls\\",
            "bash -lc 'a' 'open",
        ] {
            check(command, command);
        }
    }
}
