//! The spine with lamps: a lamp is on or off, and switching it on has an effect.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use durable::crash::CrashPoint;
use jiff::Timestamp;
use model::ErrorCode;
use model::decision::Decision;
use model::problem::Problem;
use store::{Home, StoreError};
use tokio_util::task::TaskTracker;

use super::{Aggregate, Decided, Existence, Mailbox as _, Recorded, Slot, Table};

#[derive(Debug, Clone, PartialEq)]
struct Lamp {
    id: u32,
    is_on: bool,
    removing: bool,
}

#[derive(Debug)]
enum LampEvent {
    Made(Lamp),
    Switched { is_on: bool },
    Unplugged,
    Left,
}

enum LampRequest {
    Switch { is_on: bool },
    Remove,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LampEffect {
    Shine,
    Unplug,
    CleanUp,
}

/// All lamps of a test.
struct Lamps {
    folder: tempfile::TempDir,
    home: Arc<Home>,
    table: Table<Self>,
    tracker: TaskTracker,
    /// The effects that were performed, each with the text on disk at that time.
    performed: Mutex<Vec<(LampEffect, String)>>,
    announced: Mutex<Vec<bool>>,
}

fn path(home: &Home, id: u32) -> PathBuf {
    home.layout.tasks().join(format!("lamp-{id}"))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorded for Lamps {
    type Id = u32;
    type Record = Lamp;
    type Live = ();

    fn id_of(record: &Lamp) -> u32 {
        record.id
    }

    fn created_at(_record: &Lamp) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn key_of(_record: &Lamp) -> Option<&str> {
        None
    }

    fn live(&self, _record: &Lamp) {}
}

impl Aggregate for Lamps {
    type Event = LampEvent;
    type Request = LampRequest;
    type Effect = LampEffect;
    type Observation = ();

    const NAME: &'static str = "lamp";
    const CREATED: CrashPoint = CrashPoint::TaskRecorded;
    const DISCARDED: CrashPoint = CrashPoint::TaskInTrash;

    fn table(&self) -> &Table<Self> {
        &self.table
    }

    fn home(&self) -> &Arc<Home> {
        &self.home
    }

    fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    fn begin(&self, event: LampEvent) -> Option<Decided<Self>> {
        match event {
            LampEvent::Made(lamp) => Some(Decision::keep(lamp, vec![LampEffect::Shine])),
            LampEvent::Switched { .. } | LampEvent::Unplugged | LampEvent::Left => None,
        }
    }

    fn decide(&self, record: &Lamp, event: LampEvent) -> Decided<Self> {
        let lamp = record.clone();
        match event {
            LampEvent::Switched { is_on } => Decision::keep(Lamp { is_on, ..lamp }, vec![LampEffect::Shine]),
            LampEvent::Unplugged => Decision::trash(lamp, vec![LampEffect::CleanUp]),
            LampEvent::Left => Decision::keep(lamp, vec![LampEffect::Unplug]),
            LampEvent::Made(_) => Decision::keep(lamp, vec![]),
        }
    }

    fn request(&self, record: &Lamp, asked: LampRequest) -> Result<Decided<Self>, Problem> {
        match asked {
            LampRequest::Switch { .. } if record.removing => Err(Problem::new(ErrorCode::TaskRemoving, "it is being removed")),
            LampRequest::Switch { is_on } => Ok(self.decide(record, LampEvent::Switched { is_on })),
            LampRequest::Remove => Ok(Decision::keep(Lamp { removing: true, ..record.clone() }, vec![LampEffect::Unplug])),
        }
    }

    fn request_after_removal(&self, _id: u32, asked: LampRequest) -> Result<(), Problem> {
        match asked {
            LampRequest::Remove => Ok(()),
            LampRequest::Switch { .. } => Err(Problem::new(ErrorCode::TaskNotFound, "there is no such lamp")),
        }
    }

    fn is_unfinished(&self, slot: &Slot<Self>) -> bool {
        slot.record().removing
    }

    async fn observe(self: &Arc<Self>, slot: &Slot<Self>) -> io::Result<()> {
        fs_err::metadata(path(&self.home, slot.id)).map(drop)
    }

    fn reconcile(_record: &Lamp, _seen: &()) -> Vec<LampEvent> {
        vec![LampEvent::Left]
    }

    fn name_of(_event: &LampEvent) -> &'static str {
        "lamp"
    }

    fn put(home: &Home, record: &Lamp) -> Result<(), StoreError> {
        Self::write(home, record)
    }

    fn write(home: &Home, record: &Lamp) -> Result<(), StoreError> {
        // A real file of the home, which a test can make impossible to write.
        home.write_built_images(&[])?;
        fs_err::write(path(home, record.id), record.is_on.to_string()).expect("writable");
        Ok(())
    }

    fn discard(home: &Home, record: &Lamp) -> Result<(), StoreError> {
        fs_err::remove_file(path(home, record.id)).expect("there");
        Ok(())
    }

    fn announce(&self, slot: &Slot<Self>) {
        locked(&self.announced).push(slot.record().is_on);
    }

    async fn perform(self: &Arc<Self>, slot: &Arc<Slot<Self>>, effect: LampEffect) {
        let on_disk = fs_err::read_to_string(path(&self.home, slot.id)).unwrap_or_else(|_| "gone".to_owned());
        locked(&self.performed).push((effect, on_disk));
        match effect {
            LampEffect::Shine => {}
            LampEffect::Unplug => self.post(slot, LampEvent::Unplugged).await,
            LampEffect::CleanUp => slot.mark_gone(),
        }
    }
}

impl Lamps {
    fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Arc::new(Home::open(folder.path()).expect("a home"));
        let (table, tracker) = (Table::default(), TaskTracker::new());
        Arc::new(Self { folder, home, table, tracker, performed: Mutex::default(), announced: Mutex::default() })
    }

    /// Returns a lamp that was just made.
    async fn lamp(self: &Arc<Self>, id: u32) -> Arc<Slot<Self>> {
        let lamp = Lamp { id, is_on: false, removing: false };
        self.create(LampEvent::Made(lamp)).await.expect("created")
    }

    /// Makes further writes fail, or succeed again.
    fn block(&self, is_blocked: bool) {
        let file = self.folder.path().join("built-images.json");
        if is_blocked {
            fs_err::remove_file(&file).expect("there");
            fs_err::create_dir_all(file.join("full")).expect("made");
        } else {
            fs_err::remove_dir_all(file).expect("there");
        }
    }

    /// Waits until all effects are performed, and returns them.
    async fn effects(&self) -> Vec<(LampEffect, String)> {
        self.tracker.close();
        self.tracker.wait().await;
        self.tracker.reopen();
        std::mem::take(&mut *locked(&self.performed))
    }
}

#[tokio::test]
async fn an_effect_is_performed_after_its_record_is_on_disk() {
    let lamps = Lamps::new();
    let lamp = lamps.lamp(1).await;
    assert_eq!(lamps.effects().await, [(LampEffect::Shine, "false".to_owned())]);
    lamps.ask(&lamp, LampRequest::Switch { is_on: true }).await.expect("accepted");
    assert_eq!(lamps.effects().await, [(LampEffect::Shine, "true".to_owned())]);
    assert_eq!(*locked(&lamps.announced), [false, true]);
    lamps.post(&lamp, LampEvent::Switched { is_on: true }).await;
    assert_eq!(*locked(&lamps.announced), [false, true], "a record that stays the same is not announced");
    assert_eq!(lamps.effects().await.len(), 1, "its effects are performed again");
}

#[tokio::test]
async fn if_a_record_cannot_be_written_nothing_changes() {
    let lamps = Lamps::new();
    let lamp = lamps.lamp(1).await;
    lamps.effects().await;
    lamps.block(true);
    lamps.ask(&lamp, LampRequest::Switch { is_on: true }).await.expect_err("the disk is full");
    lamps.post(&lamp, LampEvent::Switched { is_on: true }).await;
    assert!(!lamp.record().is_on && lamps.effects().await.is_empty());
    let unmade = lamps.create(LampEvent::Made(Lamp { id: 2, is_on: false, removing: false })).await;
    assert!(unmade.is_err() && lamps.table.get(2).is_none());
    lamps.block(false);
    lamps.ask(&lamp, LampRequest::Switch { is_on: true }).await.expect("accepted");
    assert!(lamp.record().is_on);
}

#[tokio::test]
async fn an_event_that_creates_nothing_is_an_error() {
    let lamps = Lamps::new();
    let error = lamps.create(LampEvent::Left).await.map(drop).expect_err("nothing was created");
    assert!(error.report.message.contains("lamp"), "{error}");
    assert!(lamps.table.all().is_empty());
}

#[tokio::test]
async fn a_removed_thing_leaves_the_table_and_takes_no_more_events() {
    let lamps = Lamps::new();
    let (lamp, other) = (lamps.lamp(1).await, lamps.lamp(2).await);
    lamps.ask(&lamp, LampRequest::Remove).await.expect("accepted");
    lamp.until_gone().await;
    let effects: Vec<_> = lamps.effects().await.into_iter().filter(|(effect, _)| *effect != LampEffect::Shine).collect();
    assert_eq!(effects, [(LampEffect::Unplug, "false".to_owned()), (LampEffect::CleanUp, "gone".to_owned())]);
    assert!(lamp.is_removed() && lamps.table.was_removed(1) && lamps.table.get(1).is_none());
    assert_eq!(lamps.table.all().iter().map(|slot| slot.id).collect::<Vec<_>>(), [other.id]);
    lamps.post(&lamp, LampEvent::Switched { is_on: true }).await;
    assert!(!path(&lamps.home, 1).exists(), "no record is written into the trash");
    lamps.ask(&lamp, LampRequest::Remove).await.expect("removing it twice is harmless");
    let refused = lamps.ask(&lamp, LampRequest::Switch { is_on: true }).await.expect_err("it is gone");
    assert_eq!(refused.report.code, ErrorCode::TaskNotFound);
    // The same ID can be created again, e.g. from the trash.
    lamps.lamp(1).await;
    assert!(!lamps.table.was_removed(1));
}

#[tokio::test]
async fn nothing_is_concluded_about_a_thing_at_work_or_one_that_cannot_be_observed() {
    let lamps = Lamps::new();
    let lamp = lamps.adopt(Lamp { id: 1, is_on: false, removing: true });
    lamps.reconcile_all().await;
    assert!(lamps.effects().await.is_empty(), "its file cannot be read");
    Lamps::put(&lamps.home, &lamp.record()).expect("written");
    let working = lamp.start_work();
    lamps.reconcile_all().await;
    assert!(lamp.is_busy() && lamps.effects().await.is_empty());
    drop(working);
    let mut changes = lamp.changes();
    lamps.reconcile_all().await;
    changes.wait_for(|existence| *existence == Existence::Gone).await.expect("the removal was finished");
    lamps.reconcile_all().await;
    assert_eq!(lamps.effects().await.len(), 2, "a removed thing is not reconciled again");
}

#[tokio::test]
async fn a_request_sees_the_record_that_its_decision_is_based_on() {
    let lamps = Lamps::new();
    let lamp = lamps.lamp(1).await;
    // Each request switches the lamp from the state that it has seen.
    let toggle = || lamps.ask_with(&lamp, |record| Ok(LampRequest::Switch { is_on: !record.is_on }));
    futures_util::future::join_all((0..21).map(|_| toggle())).await.into_iter().for_each(|asked| drop(asked.expect("accepted")));
    assert!(lamp.record().is_on, "no two requests saw the same state");
    let refused = lamps.ask_with(&lamp, |_| Err(Problem::new(ErrorCode::NoQuestion, "no"))).await.expect_err("refused");
    assert_eq!(refused.report.code, ErrorCode::NoQuestion);
    let turn = lamp.hold().await;
    let asked = lamps.ask(&lamp, LampRequest::Switch { is_on: false });
    let mut asked = std::pin::pin!(asked);
    assert!(futures_util::FutureExt::now_or_never(asked.as_mut()).is_none(), "requests wait while the lamp is held");
    drop(turn);
    asked.await.expect("accepted");
}
