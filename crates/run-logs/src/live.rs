//! The text of items that a run is still writing, for everybody who watches it.
//!
//! It exists only in memory. Each reader first gets the end of the text so far. Invariant: no part of a secret is shown, wherever the
//! worker cuts its output.

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::codex::app_server::{LiveKind, LiveNews, RunDelta};
use process::Redactor;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// How much of the end of an item's text is kept, in bytes.
const KEPT_BYTES: usize = 16 * 1024;

/// The maximum number of items. The oldest one is dropped.
const MOST_ITEMS: usize = 64;

/// The number of pieces that a slow reader can be behind before it starts again with the end of the text.
const MOST_BEHIND: usize = 256;

/// The text of the items that a run is still writing.
#[derive(Debug)]
pub struct LiveTexts {
    items: Mutex<Vec<Item>>,
    changes: broadcast::Sender<RunDelta>,
}

#[derive(Debug)]
struct Item {
    id: String,
    kind: LiveKind,
    /// The end of the masked text.
    shown: String,
    /// The length of the whole masked text.
    end: u64,
    /// What may be the start of a secret.
    unsettled: String,
}

/// Reads the text from its current end.
#[derive(Debug)]
pub struct LiveReader {
    first: std::vec::IntoIter<RunDelta>,
    changes: broadcast::Receiver<RunDelta>,
}

impl Default for LiveTexts {
    fn default() -> Self {
        Self { items: Mutex::default(), changes: broadcast::channel(MOST_BEHIND).0 }
    }
}

impl LiveTexts {
    /// Adds news.
    pub fn update(&self, news: LiveNews, redactor: &Redactor) {
        let mut items = self.locked();
        let change = match news {
            LiveNews::Text { item, kind, text } => append(&mut items, &item, kind, &text, redactor),
            LiveNews::Complete { item } => {
                let found = items.iter().position(|known| known.id == item);
                found.map(|at| RunDelta { complete: true, ..items.remove(at).delta(0) })
            }
        };
        if let Some(change) = change {
            // Nobody has to watch.
            let _watched = self.changes.send(change);
        }
    }

    /// Forgets all text.
    pub fn clear(&self) {
        self.locked().clear();
    }

    /// Returns a reader that starts with the end of each text.
    pub fn read(&self) -> LiveReader {
        let items = self.locked();
        let first: Vec<_> = items.iter().map(|item| item.delta(item.shown.len())).collect();
        LiveReader { first: first.into_iter(), changes: self.changes.subscribe() }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveReader {
    /// Waits for the next text. Cancel-safe.
    pub async fn next(&mut self, texts: &LiveTexts) -> RunDelta {
        loop {
            if let Some(delta) = self.first.next() {
                return delta;
            }
            match self.changes.recv().await {
                Ok(delta) => return delta,
                Err(RecvError::Lagged(_)) => *self = texts.read(),
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Item {
    /// Returns the last bytes of the text.
    fn delta(&self, bytes: usize) -> RunDelta {
        let text = &self.shown[self.shown.len() - bytes..];
        let start = self.end - bytes as u64;
        RunDelta { item: self.id.clone(), kind: self.kind, start, end: self.end, text: text.to_owned(), complete: false }
    }
}

fn append(items: &mut Vec<Item>, id: &str, kind: LiveKind, text: &str, redactor: &Redactor) -> Option<RunDelta> {
    let at = items.iter().position(|known| known.id == id).unwrap_or_else(|| {
        if items.len() == MOST_ITEMS {
            items.remove(0);
        }
        items.push(Item { id: id.to_owned(), kind, shown: String::new(), end: 0, unsettled: String::new() });
        items.len() - 1
    });
    let item = &mut items[at];
    item.unsettled.push_str(text);
    let settled: String = item.unsettled.drain(..redactor.settled(&item.unsettled)).collect();
    let masked = redactor.mask(&settled);
    if masked.is_empty() {
        return None;
    }
    item.end += masked.len() as u64;
    item.shown.push_str(&masked);
    let surplus = item.shown.len().saturating_sub(KEPT_BYTES);
    item.shown.drain(..item.shown.ceil_char_boundary(surplus));
    Some(item.delta(masked.len().min(item.shown.len())))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn text(item: &str, text: &str) -> LiveNews {
        LiveNews::Text { item: item.to_owned(), kind: LiveKind::Command, text: text.to_owned() }
    }

    fn all(reader: &mut LiveReader, texts: &LiveTexts) -> Vec<(u64, u64, String, bool)> {
        let next = || reader.next(texts).now_or_never();
        std::iter::from_fn(next).map(|delta| (delta.start, delta.end, delta.text, delta.complete)).collect()
    }

    #[test]
    fn readers_get_the_text_so_far_and_then_each_piece_once() {
        let (texts, redactor) = (LiveTexts::default(), Redactor::default());
        texts.update(text("a", "one\n"), &redactor);
        let mut reader = texts.read();
        texts.update(text("a", "two\n"), &redactor);
        assert_eq!(all(&mut reader, &texts), [(0, 4, "one\n".to_owned(), false), (4, 8, "two\n".to_owned(), false)]);
        texts.update(LiveNews::Complete { item: "a".to_owned() }, &redactor);
        texts.update(LiveNews::Complete { item: "unknown".to_owned() }, &redactor);
        assert_eq!(all(&mut reader, &texts), [(8, 8, String::new(), true)]);
        assert_eq!(all(&mut texts.read(), &texts), []);
        texts.update(text("b", "x"), &redactor);
        texts.clear();
        assert_eq!(all(&mut texts.read(), &texts), []);
    }

    #[test]
    fn a_slow_reader_starts_again_with_the_end_of_the_text() {
        let (texts, redactor) = (LiveTexts::default(), Redactor::default());
        let mut reader = texts.read();
        for _ in 0..=MOST_BEHIND {
            texts.update(text("a", "0123456789"), &redactor);
        }
        let length = 10 * (MOST_BEHIND as u64 + 1);
        assert_eq!(all(&mut reader, &texts), [(0, length, "0123456789".repeat(MOST_BEHIND + 1), false)]);
    }

    #[test]
    fn a_long_text_keeps_its_end_and_many_items_keep_the_newest() {
        let (texts, redactor) = (LiveTexts::default(), Redactor::default());
        texts.update(text("a", &"é".repeat(KEPT_BYTES)), &redactor);
        let found = all(&mut texts.read(), &texts);
        assert_eq!((found[0].0, found[0].1), (KEPT_BYTES as u64, 2 * KEPT_BYTES as u64));
        for n in 0..MOST_ITEMS {
            texts.update(text(&format!("b{n}"), "x"), &redactor);
        }
        assert_eq!(all(&mut texts.read(), &texts).len(), MOST_ITEMS);
    }

    #[test]
    fn a_secret_is_masked_wherever_it_is_cut() {
        let redactor = Redactor::new(["hunter2".to_owned()]);
        for cut in 0..=10 {
            let texts = LiveTexts::default();
            let whole = "a hunter2\n";
            let mut reader = texts.read();
            texts.update(text("a", &whole[..cut]), &redactor);
            texts.update(text("a", &whole[cut..]), &redactor);
            let shown: String = all(&mut reader, &texts).into_iter().map(|(_, _, text, _)| text).collect();
            assert_eq!(shown, "a ***\n", "{cut}");
        }
    }
}
