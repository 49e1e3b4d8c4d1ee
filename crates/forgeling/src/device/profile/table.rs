//! A profile as text.

use std::fmt;

use super::{KernelRow, Profile, ProfileRow};

/// Columns aligned to their widest value: the first to the left, others to the right.
struct Table(Vec<Vec<String>>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.0 {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.3}", seconds * 1e3)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn named(name: &str, phase: Option<&str>) -> String {
    phase.map_or_else(|| name.to_owned(), |phase| format!("{phase}/{name}"))
}

impl Profile {
    fn rows(&self, title: &str, rows: &[ProfileRow]) -> Table {
        let clock = rows.iter().any(|row| row.gpu_seconds.is_some());
        let head = [title, "count", "ms", "share"].map(str::to_owned);
        let mut head = head.to_vec();
        head.extend(clock.then(|| "GPU ms".to_owned()));
        let launches = self.dispatches > 0;
        if launches {
            head.extend(["launches", "MB bound"].map(str::to_owned));
        }
        let mut table = vec![head];
        for row in rows {
            let share = 100.0 * row.seconds / self.seconds.max(f64::MIN_POSITIVE);
            let mut cells = vec![
                named(&row.name, row.phase.as_deref()),
                row.count.to_string(),
                milliseconds(row.seconds),
                format!("{share:.1} %"),
            ];
            if clock {
                cells.push(row.gpu_seconds.map_or_else(String::new, milliseconds));
            }
            if launches {
                cells.extend([row.dispatches.to_string(), megabytes(row.bytes)]);
            }
            table.push(cells);
        }
        Table(table)
    }

    fn kernel_rows(&self) -> Table {
        let timed = |row: &KernelRow| row.gpu_seconds.is_some();
        let clock = self.kernels.iter().any(timed);
        let mut head = ["kernel", "launches", "MB bound"]
            .map(str::to_owned)
            .to_vec();
        head.extend(clock.then(|| "GPU ms".to_owned()));
        let mut table = vec![head];
        for row in &self.kernels {
            let mut cells = vec![
                named(&row.name, row.phase.as_deref()),
                row.dispatches.to_string(),
                megabytes(row.bytes),
            ];
            if clock {
                cells.push(row.gpu_seconds.map_or_else(String::new, milliseconds));
            }
            table.push(cells);
        }
        Table(table)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", milliseconds(self.seconds))?;
        if self.dispatches > 0 {
            let bytes = megabytes(self.bytes);
            write!(f, ", {} launches, {bytes} MB bound", self.dispatches)?;
        }
        if let Some(peak) = self.peak_bytes {
            write!(f, ", {} MB in use at peak", megabytes(peak))?;
        }
        writeln!(f)?;
        for (title, rows) in [("phase", &self.phases), ("module", &self.modules)] {
            if !rows.is_empty() {
                write!(f, "\n{}", self.rows(title, rows))?;
            }
        }
        if !self.kernels.is_empty() {
            write!(f, "\n{}", self.kernel_rows())?;
        }
        if self.dropped_spans > 0 {
            writeln!(f, "\n{} more spans were not recorded", self.dropped_spans)?;
        }
        Ok(())
    }
}
