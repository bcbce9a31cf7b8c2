//! Aim: a backup goes out and comes in over the connection as the file it is, and what is wrong with it is told before
//! anything changes. Method: a real server; files in memory, whole, cut, changed and in the wrong order.

use std::time::Duration;

use hypermnesia_rpc::ErrorKind;
use hypermnesia_rpc::client::{
    AttributeType, BackupBase, BackupDone, BackupPart, BackupRequest, Client, Lifetime, RestoreAction,
    RestoreDone, RestoreMode, RestoreOptions, Storage, TableRestoreMode, TableSpec,
};
use hypermnesia_rpc::proto::backups_client::BackupsClient;
use hypermnesia_rpc::proto::{RestoreRequest, restore_request};

use crate::served::Served;

/// A whole backup and what is told of it.
async fn taken(
    client: &Client,
    request: BackupRequest,
) -> Result<(Vec<u8>, BackupDone), hypermnesia_rpc::Error> {
    let mut parts = client.backup(request).await?;
    let (mut bytes, mut told, mut done) = (Vec::new(), (0, 0), None);
    while let Some(part) = parts.next().await? {
        match part {
            BackupPart::Chunk(chunk) => bytes.extend(chunk),
            BackupPart::Progress(rows, total) => told = (rows, total),
            BackupPart::Done(end) => done = Some(end),
        }
    }
    let done = done.expect("told at the end");
    assert_eq!(bytes.len() as u64, done.file_bytes);
    assert!(told.0 <= told.1, "{told:?}");
    Ok((bytes, done))
}

async fn restored(
    client: &Client,
    options: RestoreOptions,
    files: &[&[u8]],
) -> Result<RestoreDone, hypermnesia_rpc::Error> {
    let mut restore = client.restore(options).await?;
    for (n, file) in files.iter().enumerate() {
        restore.file(format!("{n}.hmb")).await?;
        for chunk in file.chunks(100_000) {
            restore.chunk(chunk.to_vec()).await?;
        }
    }
    restore.finish(|rows, total| assert!(rows <= total)).await
}

fn base(done: &BackupDone, served: &Served) -> BackupBase {
    BackupBase {
        id: done.id.clone(),
        position: done.position,
        cluster: "hypermnesia".into(),
        node: "n1".into(),
        tables: served.node.tables().iter().map(|table| table.id.0).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_goes_out_and_comes_in() {
    let from = Served::with_numbers(20_000).await;
    let numbers = from.client.table("numbers");
    let until = Lifetime::Until(std::time::UNIX_EPOCH + Duration::from_secs(4_102_444_800));
    numbers.put_with((1, "timed"), until).await.expect("fits");
    let (full, done) = taken(&from.client, BackupRequest::default()).await.expect("taken");
    assert_eq!((done.rows, done.tables[0].incremental), (20_000, false));
    numbers.delete(2).await.expect("deleted");
    numbers.put((3, "changed")).await.expect("fits");
    let request = BackupRequest { base: Some(base(&done, &from)), ..BackupRequest::default() };
    let (more, changes) = taken(&from.client, request).await.expect("taken");
    let table = &changes.tables[0];
    assert_eq!((table.incremental, table.rows, table.unchanged), (true, 1, 19_998));

    let to = Served::start().await;
    let done = restored(&to.client, RestoreOptions::default(), &[&full, &more]).await.expect("restored");
    assert_eq!((done.rows, done.tables[0].action()), (19_999, RestoreAction::Created));
    let there = to.client.table("numbers");
    assert_eq!(there.get(2).await.expect("read"), Vec::<Vec<_>>::new());
    assert_eq!(there.get_one(3).await.expect("read"), Some(vec![3.into(), "changed".into()]));
    let deadline = |served: &Served| {
        let table = served.node.dyn_table("numbers").expect("there");
        table.deadline(&[hypermnesia::Value::Int(1)]).expect("read")
    };
    assert_eq!(deadline(&to), deadline(&from));
    let info = to.client.describe_table("numbers").await.expect("there").table.expect("always sent");
    assert_eq!(info.indexes[0].name, "by_text");
    from.stop().await;
    to.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_go_with_it() {
    let (from, to) = (Served::start().await, Served::start().await);
    let invoices = from.node.sequence("invoices").expect("made");
    assert_eq!(invoices.next_block(70), Ok(1..71));
    let (file, done) = taken(&from.client, BackupRequest::default()).await.expect("taken");
    assert_eq!((&*done.sequences[0].name, done.sequences.len()), ("invoices", 1));
    assert!(done.sequences[0].next > 70);
    let without = BackupRequest { without_sequences: true, ..BackupRequest::default() };
    assert_eq!(taken(&from.client, without).await.expect("taken").1.sequences, []);
    let without = RestoreOptions { without_sequences: true, ..RestoreOptions::default() };
    assert_eq!(restored(&to.client, without, &[&file]).await.expect("restored").sequences, []);
    assert!(to.node.existing_sequence("invoices").is_err());
    let told = restored(&to.client, RestoreOptions::default(), &[&file]).await.expect("restored").sequences;
    assert_eq!((told[0].created, told[0].next), (true, done.sequences[0].next));
    assert_eq!(to.node.existing_sequence("invoices").expect("there").next(), Ok(told[0].next));
    from.stop().await;
    to.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_and_single_tables_are_understood() {
    let served = Served::with_accounts().await;
    served
        .client
        .create_table(TableSpec::set("other").attribute("id", AttributeType::Int))
        .await
        .expect("new");
    let (file, _) = taken(&served.client, BackupRequest::default()).await.expect("taken");
    let one = BackupRequest { tables: vec!["other".into()], ..BackupRequest::default() };
    assert_eq!(taken(&served.client, one).await.expect("taken").1.tables.len(), 1);
    let accounts = served.client.table("accounts");
    accounts.put(("carol", 1)).await.expect("fits");
    accounts.put(("bob", 7)).await.expect("fits");
    let keep = RestoreOptions {
        mode: RestoreMode::Skip.into(),
        modes: vec![TableRestoreMode { table: "accounts".into(), mode: RestoreMode::Keep.into() }],
        ..RestoreOptions::default()
    };
    let done = restored(&served.client, keep, &[&file]).await.expect("restored");
    let actions: Vec<_> = done.tables.iter().map(|table| table.action()).collect();
    assert_eq!(actions, [RestoreAction::Kept, RestoreAction::Skipped]);
    assert_eq!(accounts.get_one("bob").await.expect("read"), Some(vec!["bob".into(), 0.into()]));
    assert!(accounts.get_one("carol").await.expect("read").is_some());
    let clear = RestoreOptions { tables: vec!["accounts".into()], ..RestoreOptions::default() };
    let done = restored(&served.client, clear, &[&file]).await.expect("restored");
    assert_eq!(done.tables[0].action(), RestoreAction::Cleared);
    assert_eq!(served.client.describe_table("accounts").await.expect("there").rows, 2);
    let disc = RestoreOptions {
        mode: RestoreMode::Recreate.into(),
        storage: Storage::Disc.into(),
        ..RestoreOptions::default()
    };
    let error = restored(&served.client, disc, &[&file]).await.expect_err("it has no disc");
    assert_eq!((error.kind(), error.changed_nothing()), (ErrorKind::Refused, true), "{error}");
    let cached = RestoreOptions { cache_bytes: 2 << 20, ..RestoreOptions::default() };
    let error = restored(&served.client, cached, &[&file]).await.expect_err("memory has no cache of itself");
    assert_eq!(error.field(), Some("options.cache_bytes"), "{error}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_changes_nothing_and_is_told() {
    let served = Served::with_numbers(3_000).await;
    let client = &served.client;
    let (file, done) = taken(client, BackupRequest::default()).await.expect("taken");
    client.table("numbers").put((3_000, "later")).await.expect("fits");
    let request = BackupRequest { base: Some(base(&done, &served)), ..BackupRequest::default() };
    let (more, _) = taken(client, request).await.expect("taken");
    let mut flipped = file.clone();
    flipped[file.len() / 2] ^= 1;
    let cases: [(&[&[u8]], ErrorKind, &str); 6] = [
        (&[], ErrorKind::Refused, "no backup"),
        (&[b"id,text\n"], ErrorKind::Invalid, "0.hmb: it is no backup"),
        (&[&file[..file.len() - 1]], ErrorKind::Invalid, "cut off at byte"),
        (&[&flipped], ErrorKind::Invalid, "damaged at byte"),
        (&[&more], ErrorKind::Refused, "incremental"),
        (&[&file, &file], ErrorKind::Refused, "full backup"),
    ];
    for (files, kind, wanted) in cases {
        let error = restored(client, RestoreOptions::default(), files).await.expect_err("refused");
        assert_eq!((error.kind(), error.changed_nothing()), (kind, true), "{error}");
        assert!(error.message().contains(wanted), "{error}");
    }
    let unknown = BackupRequest { tables: vec!["nothing".into()], ..BackupRequest::default() };
    assert_eq!(taken(client, unknown).await.expect_err("no table").kind(), ErrorKind::NotFound);
    let short = BackupBase { id: vec![1], ..base(&done, &served) };
    let error = taken(client, BackupRequest { base: Some(short), ..BackupRequest::default() }).await;
    assert_eq!(error.expect_err("no name").field(), Some("base.id"));
    let mode = RestoreOptions { mode: 9, ..RestoreOptions::default() };
    assert_eq!(restored(client, mode, &[&file]).await.expect_err("unknown").field(), Some("options.mode"));
    assert_eq!(client.describe_table("numbers").await.expect("there").rows, 3_001);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_speaks_in_order_and_alone() {
    // A chunk before its file, two beginnings, a restore that is never ended while another one comes.
    let served = Served::with_accounts().await;
    let raw = |parts: Vec<restore_request::Part>| {
        let requests = parts.into_iter().map(|part| RestoreRequest { part: Some(part) });
        let requests: Vec<_> = requests.collect();
        let mut client = BackupsClient::new(served.client.channel());
        async move {
            let answers =
                client.restore(tokio_stream::iter(requests)).await.map_err(hypermnesia_rpc::Error::from)?;
            answers.into_inner().message().await.map_err(hypermnesia_rpc::Error::from).map(drop)
        }
    };
    use restore_request::Part;
    let options = || Part::Options(RestoreOptions::default());
    for (parts, field) in [
        (vec![], "options"),
        (vec![Part::Chunk(vec![1])], "options"),
        (vec![options(), Part::Chunk(vec![1])], "file"),
        (vec![options(), options()], "options"),
        (vec![options()], "end"),
    ] {
        let error = raw(parts).await.expect_err("refused");
        assert_eq!(error.field(), Some(field), "{error}");
    }
    let mut open = served.client.restore(RestoreOptions::default()).await.expect("nothing is running");
    open.file("a").await.expect("sent");
    let second = served.client.restore(RestoreOptions::default()).await.expect_err("one at a time");
    assert_eq!((second.kind(), second.changed_nothing()), (ErrorKind::Limit, true), "{second}");
    drop(open);
    let (file, _) = taken(&served.client, BackupRequest::default()).await.expect("taken");
    // The server finds the one that was left a moment later.
    loop {
        match restored(&served.client, RestoreOptions::default(), &[&file]).await {
            Ok(done) => break assert_eq!(done.rows, 2),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Limit, "{error}"),
        }
    }
    served.stop().await;
}
