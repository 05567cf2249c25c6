//! What clients have accepted, as hashes of type, name, part and version: so that after a restart those who reject
//! first can't keep from others what works for them.

use std::collections::BTreeSet;

use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableError,
    WriteTransaction,
};

/// When a hash was last accepted for the first time, in milliseconds since 1970.
const ACCEPTED: TableDefinition<'_, u64, u64> = TableDefinition::new("accepted");
/// Rows that are kept, at most; the older half goes when there are more.
pub(super) const ACCEPTED_MAX: usize = 1 << 18;

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

pub(super) fn write(
    transaction: &WriteTransaction,
    accepted: &BTreeSet<u64>,
    now_ms: u64,
) -> Result<(), redb::Error> {
    if accepted.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(ACCEPTED)?;
    for hash in accepted {
        table.insert(hash, now_ms)?;
    }
    if table.len()? <= ACCEPTED_MAX as u64 {
        return Ok(());
    }
    let rows = table.iter()?.map(|row| row.map(|(hash, at)| (at.value(), hash.value())));
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    rows.sort_unstable();
    for (_, hash) in rows.iter().take(rows.len() / 2) {
        table.remove(hash)?;
    }
    Ok(())
}
