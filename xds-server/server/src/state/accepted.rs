//! What clients have accepted, as hashes of type, name, part and version: so that after a restart those who reject
//! first can't keep from others what works for them.

use std::collections::BTreeSet;

use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableError,
    WriteTransaction,
};

/// When a hash was last accepted for the first time, in milliseconds since 1970.
const ACCEPTED: TableDefinition<'_, u64, u64> = TableDefinition::new("accepted");
/// Rows that are kept beside those in use, at most; when there are more, the older half of these goes.
pub(super) const ACCEPTED_MAX: usize = 1 << 18;

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Acceptances {
    /// Accepted for the first time.
    pub(super) fresh: BTreeSet<u64>,
    /// What clients go by now, said when there are too many rows: of the others the oldest go.
    pub(super) in_use: Option<BTreeSet<u64>>,
}

impl Acceptances {
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.in_use.is_none()
    }
}

/// Everything that is kept. Nothing where it can't be read: then the first to accept say it anew.
pub(super) fn load(database: &Database) -> Vec<u64> {
    let read = || -> Result<Vec<u64>, redb::Error> {
        let transaction = database.begin_read()?;
        let table = match transaction.open_table(ACCEPTED) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        table.iter()?.map(|row| Ok(row?.0.value())).collect()
    };
    read().unwrap_or_else(|error| {
        tracing::warn!(%error, "what clients accepted before can't be read");
        Vec::new()
    })
}

/// Writes them, and tells if there are too many rows: then what is in use is to be said.
pub(super) fn write(
    transaction: &WriteTransaction,
    accepted: &Acceptances,
    now_ms: u64,
) -> Result<bool, redb::Error> {
    if accepted.is_empty() {
        return Ok(false);
    }
    let mut table = transaction.open_table(ACCEPTED)?;
    for hash in &accepted.fresh {
        table.insert(hash, now_ms)?;
    }
    let Some(in_use) = &accepted.in_use else { return Ok(table.len()? > ACCEPTED_MAX as u64) };
    let rows = table.iter()?.map(|row| row.map(|(hash, at)| (at.value(), hash.value())));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let mut unused: Vec<_> = rows.into_iter().filter(|(_, hash)| !in_use.contains(hash)).collect();
    if unused.len() > ACCEPTED_MAX / 2 {
        unused.sort_unstable();
        for (_, hash) in unused.iter().take(unused.len() - ACCEPTED_MAX / 2) {
            table.remove(hash)?;
        }
    }
    Ok(false)
}
