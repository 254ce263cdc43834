//! Parses `Last-Event-ID`, the position at which a browser or program resumes an event stream.
//!
//! Pure. A position is digits only: Rust's own parser would also accept a sign.

/// Parses the position in a stream of one run, or in the stream of all changes.
pub fn position(id: &str) -> Option<u64> {
    digits(id)?.parse().ok()
}

/// Parses the position in a stream of a task: the number of the run, from 1, and the offset in its log, as `run:offset`.
pub fn run_and_offset(id: &str) -> Option<(u32, u64)> {
    let (run, offset) = id.split_once(':')?;
    let run = digits(run)?.parse().ok().filter(|run| *run > 0)?;
    Some((run, position(offset)?))
}

fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_digits_only() {
        let check = |id: &str, expect| assert_eq!(position(id), expect, "{id:?}");
        check("0", Some(0));
        check("18446744073709551615", Some(u64::MAX));
        for id in ["", "+5", "-1", " 1", "1 ", "x", "1.5", "18446744073709551616", "٣"] {
            check(id, None);
        }
    }

    #[test]
    fn a_position_in_a_task_has_a_run_from_1() {
        let check = |id: &str, expect| assert_eq!(run_and_offset(id), expect, "{id:?}");
        check("1:0", Some((1, 0)));
        check("12:345", Some((12, 345)));
        for id in ["", ":", "1", "1:", ":1", "0:5", "+1:5", "1:+5", "1:2:3", "-1:0", "4294967296:0"] {
            check(id, None);
        }
    }
}
