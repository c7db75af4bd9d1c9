//! A shop at work: orders, carts, and once in a while what a shop does seldom.

use std::path::Path;
use std::time::Duration;

use tokio::time::interval;

use super::server::Failure;
use super::session::connect;

/// Makes the shop's database, as it was before slotd came.
pub(crate) async fn open(socket: &Path) -> Result<(), Failure> {
    connect(socket, "postgres").await?.batch_execute("CREATE DATABASE shop").await?;
    let tables = "
        CREATE TABLE orders (id bigserial PRIMARY KEY, city text NOT NULL, item text NOT NULL, status text NOT NULL);
        CREATE TABLE carts (id bigserial PRIMARY KEY, item text NOT NULL);
        CREATE TABLE stock (item text PRIMARY KEY, pieces int NOT NULL);
        CREATE TABLE prices (id bigserial PRIMARY KEY, item int NOT NULL, cents int NOT NULL);
        INSERT INTO stock SELECT item, 100 FROM unnest(array['kettle', 'teapot', 'cup', 'tray']) AS item;";
    connect(socket, "shop").await?.batch_execute(tables).await?;
    Ok(())
}

/// Works until it is dropped; it ends by itself only when the database does.
pub(crate) async fn work(socket: &Path) -> Result<(), Failure> {
    let client = connect(socket, "shop").await?;
    let mut pace = interval(Duration::from_millis(300));
    for step in 0_u32.. {
        pace.tick().await;
        client.batch_execute(&next(step)).await?;
    }
    Ok(())
}

/// The statements of a step, a transaction each: every kind of change within seven seconds.
fn next(step: u32) -> String {
    const CITIES: [&str; 5] = ["Graz", "Lyon", "Porto", "Turku", "Vilnius"];
    const ITEMS: [&str; 4] = ["kettle", "teapot", "cup", "tray"];
    let pick = |names: &[&'static str]| names[fastrand::usize(..names.len())];
    let (city, item) = (pick(&CITIES), pick(&ITEMS));
    let last = "(SELECT max(id) FROM orders)";
    match step % 60 {
        8 => "INSERT INTO prices (item, cents) SELECT n, 100 + n % 900 FROM generate_series(1, 20000) AS n".to_owned(),
        16 => format!(
            "ALTER TABLE orders ADD COLUMN IF NOT EXISTS gift_note text;
             INSERT INTO orders (city, item, status, gift_note) VALUES ('{city}', '{item}', 'new', 'With love')"
        ),
        24 => "TRUNCATE carts".to_owned(),
        step if step % 4 == 0 => format!(
            "INSERT INTO orders (city, item, status) VALUES ('{city}', '{item}', 'new');
             UPDATE stock SET pieces = pieces - 1 WHERE item = '{item}'"
        ),
        step if step % 4 == 1 => format!("INSERT INTO carts (item) VALUES ('{item}'), ('{item}')"),
        step if step % 4 == 2 => format!("UPDATE orders SET status = 'paid' WHERE id = {last}"),
        _ => "DELETE FROM carts WHERE id = (SELECT max(id) FROM carts)".to_owned(),
    }
}
