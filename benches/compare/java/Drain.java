import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.BufferedWriter;
import java.io.FileOutputStream;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.util.Properties;

/**
 * Debezium's engine, writing each event as a line of JSON: PORT DATABASE SLOT PUBLICATION FILE.
 *
 * <p>Says "first" at the first event, and "done" once the row of the table "finish" is written and the file is fsynced.
 */
public final class Drain {
    public static void main(String[] args) throws Exception {
        var properties = new Properties();
        properties.setProperty("name", "bench");
        properties.setProperty("connector.class", "io.debezium.connector.postgresql.PostgresConnector");
        properties.setProperty("topic.prefix", "bench");
        properties.setProperty("database.hostname", "127.0.0.1");
        properties.setProperty("database.port", args[0]);
        properties.setProperty("database.dbname", args[1]);
        properties.setProperty("database.user", "postgres");
        properties.setProperty("database.password", "none is asked for");
        properties.setProperty("database.sslmode", "disable");
        properties.setProperty("plugin.name", "pgoutput");
        properties.setProperty("slot.name", args[2]);
        properties.setProperty("slot.drop.on.stop", "false");
        properties.setProperty("publication.name", args[3]);
        properties.setProperty("publication.autocreate.mode", "disabled");
        properties.setProperty("snapshot.mode", "no_data");
        properties.setProperty("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore");
        properties.setProperty("converter.schemas.enable", "false");
        properties.setProperty("decimal.handling.mode", "string");
        properties.setProperty("tombstones.on.delete", "false");
        properties.setProperty("max.batch.size", "8192");
        properties.setProperty("max.queue.size", "65536");
        properties.setProperty("poll.interval.ms", "5");
        properties.setProperty("record.processing.threads", "2");
        properties.setProperty("record.processing.order", "ORDERED");

        var stream = new FileOutputStream(args[4]);
        var file = new BufferedWriter(new OutputStreamWriter(stream, StandardCharsets.UTF_8), 1 << 18);
        var seen = new boolean[1];
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
                .using(properties)
                .notifying((events, committer) -> {
                    try {
                        if (!seen[0]) {
                            seen[0] = true;
                            System.out.println("first");
                        }
                        var last = false;
                        for (var event : events) {
                            file.write(event.value());
                            file.write('\n');
                            last |= event.destination().endsWith(".finish");
                            committer.markProcessed(event);
                        }
                        file.flush();
                        if (last) {
                            stream.getFD().sync();
                            System.out.println("done");
                            Runtime.getRuntime().halt(0);
                        }
                        committer.markBatchFinished();
                    } catch (java.io.IOException error) {
                        throw new java.io.UncheckedIOException(error);
                    }
                })
                .using((success, message, error) -> {
                    System.out.println("ended: " + message);
                    Runtime.getRuntime().halt(1);
                })
                .build();
        engine.run();
    }
}
