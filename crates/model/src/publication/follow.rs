//! Decides which request to send to a Git host next. Each repository gets one request per tick: the one whose last answer is
//! oldest relative to its weight.
//!
//! With 60 ticks an hour, a repository causes at most 60 requests an hour, regardless of the number of its pull requests.

use std::time::Duration;

/// How long a pull request is followed if nobody looks at it.
pub const FOLLOWED_FOR: Duration = Duration::from_hours(7 * 24);

/// The time between two requests for the same repository.
pub const TICK: Duration = Duration::from_mins(1);

/// A request to the Git host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// The state of the newest pull requests of the repository, in one answer.
    List,
    /// The state of one pull request, and whether it can be merged.
    Details(u64),
    /// The checks of a pull request's commit.
    Checks(u64),
    /// The reviews of a pull request.
    Reviews(u64),
}

/// A pull request that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowedPullRequest {
    /// The number of the pull request.
    pub number: u64,
    /// Whether somebody has the page of the task open.
    pub is_watched: bool,
    /// Whether checks are running or not known yet.
    pub has_pending_checks: bool,
}

/// Returns the next request. `age` returns how old the last answer to a request is, or `None` if there is none.
pub fn next_question(followed: &[FollowedPullRequest], age: impl Fn(Question) -> Option<Duration>) -> Option<Question> {
    if followed.is_empty() {
        return None;
    }
    let each = followed.iter().flat_map(|one| {
        let watched = if one.is_watched { 8 } else { 1 };
        let pending = if one.has_pending_checks { 3 } else { 1 };
        [
            (Question::Details(one.number), watched),
            (Question::Checks(one.number), watched * pending),
            (Question::Reviews(one.number), watched),
        ]
    });
    // For one or two pull requests, the list adds nothing to their details.
    let list = (followed.len() > 2).then_some((Question::List, 4));
    let weighed = each.chain(list).map(|(question, weight)| {
        let urgency = age(question).map_or(u128::MAX, |age| age.as_millis().saturating_mul(weight));
        (urgency, question)
    });
    // Among equally urgent requests, the first one wins.
    weighed.max_by(|(a, first), (b, second)| a.cmp(b).then(second.cmp(first))).map(|(_, question)| question)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn one(number: u64) -> FollowedPullRequest {
        FollowedPullRequest { number, is_watched: false, has_pending_checks: false }
    }

    /// Counts how often each request is sent during a number of ticks.
    fn asked(followed: &[FollowedPullRequest], ticks: u32) -> BTreeMap<Question, u32> {
        let mut last: BTreeMap<Question, u32> = BTreeMap::new();
        let mut times = BTreeMap::new();
        for now in 0..ticks {
            let age = |question| last.get(&question).map(|then| TICK * (now - then));
            let question = next_question(followed, age).expect("at least one pull request is followed");
            last.insert(question, now);
            *times.entry(question).or_default() += 1;
        }
        times
    }

    #[test]
    fn nobody_is_asked_for_nothing() {
        assert_eq!(next_question(&[], |_| None), None);
    }

    #[test]
    fn twenty_pull_requests_are_seen_whole_within_two_hours_at_a_call_a_minute() {
        let followed: Vec<_> = (1..=20).map(one).collect();
        let times = asked(&followed, 120);
        assert_eq!(times.len(), 61, "all requests are sent: {times:?}");
        assert!(times[&Question::List] >= 5, "{times:?}");
        assert_eq!(times.values().sum::<u32>(), 120);
    }

    #[test]
    fn the_one_that_somebody_looks_at_is_asked_for_most() {
        let mut followed: Vec<_> = (1..=20).map(one).collect();
        followed[4].is_watched = true;
        followed[4].has_pending_checks = true;
        let times = asked(&followed, 240);
        let of = |number| times[&Question::Checks(number)];
        assert!(of(5) > 8 * of(6), "{times:?}");
        assert!(
            followed.iter().all(|one| times.contains_key(&Question::Reviews(one.number))),
            "every pull request is updated: {times:?}"
        );
    }

    #[test]
    fn a_single_one_is_seen_whole_every_three_minutes() {
        let times = asked(&[one(1)], 60);
        assert_eq!(times.values().copied().collect::<Vec<_>>(), [20, 20, 20]);
    }
}
