#!/bin/bash
# OpenJDK: javac, then threads, locks, timers, sockets, files, processes and garbage collection.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
rounds=100
[[ ${APP_SIZE:-short} == short ]] || rounds=3000
cat >Main.java <<'JAVA'
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;

public class Main {
  static int depth(int n) { return depth(n + 1) + 1; }

  public static void main(String[] args) throws Exception {
    int rounds = Integer.parseInt(args[0]);
    System.out.println("== threads");
    ExecutorService pool = Executors.newFixedThreadPool(8);
    AtomicLong sum = new AtomicLong();
    List<Future<Long>> futures = new ArrayList<>();
    for (int i = 0; i < rounds; i++) {
      final int n = i;
      futures.add(pool.submit(() -> { sum.addAndGet(n); return LongStream.rangeClosed(1, n).sum(); }));
    }
    long total = 0;
    for (Future<Long> future : futures) total += future.get();
    System.out.println(sum + " " + total);
    CyclicBarrier barrier = new CyclicBarrier(4);
    CountDownLatch done = new CountDownLatch(4);
    for (int i = 0; i < 4; i++) new Thread(() -> {
      try { for (int k = 0; k < 50; k++) barrier.await(); } catch (Exception e) { System.out.println(e); }
      done.countDown();
    }).start();
    System.out.println(done.await(60, TimeUnit.SECONDS));
    System.out.println(IntStream.range(0, 100000).parallel().filter(x -> x % 7 == 0).count());
    Thread sleeper = new Thread(() -> {
      try { Thread.sleep(100000); } catch (InterruptedException e) { System.out.println("interrupted"); }
    });
    sleeper.start();
    sleeper.interrupt();
    sleeper.join();

    System.out.println("== the CPU's exceptions");
    try { depth(0); } catch (StackOverflowError e) { System.out.println("stack overflow"); }
    try { Object o = args.length > 5 ? "" : null; o.toString(); } catch (NullPointerException e) { System.out.println("null"); }
    try { System.out.println(1 / (args.length - 1)); } catch (ArithmeticException e) { System.out.println("zero"); }

    System.out.println("== memory");
    List<byte[]> kept = new LinkedList<>();
    for (int i = 0; i < rounds * 20; i++) {
      kept.add(new byte[10000]);
      if (kept.size() > 100) kept.remove(0);
    }
    System.gc();
    try { long[][] big = new long[1 << 20][]; for (int i = 0; i < big.length; i++) big[i] = new long[1 << 20]; }
    catch (OutOfMemoryError e) { System.out.println("out of memory"); }

    System.out.println("== sockets");
    ServerSocket server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    Thread echo = new Thread(() -> {
      try (Socket s = server.accept()) { s.getInputStream().transferTo(s.getOutputStream()); }
      catch (IOException e) { System.out.println(e); }
    });
    echo.start();
    try (Socket s = new Socket(server.getInetAddress(), server.getLocalPort())) {
      s.getOutputStream().write("echo".getBytes());
      s.shutdownOutput();
      System.out.println(new String(s.getInputStream().readAllBytes()));
    }
    echo.join();
    com.sun.net.httpserver.HttpServer web = com.sun.net.httpserver.HttpServer.create(
        new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    web.setExecutor(pool);
    web.createContext("/", exchange -> {
      byte[] body = exchange.getRequestURI().getPath().getBytes();
      exchange.sendResponseHeaders(200, body.length);
      exchange.getResponseBody().write(body);
      exchange.close();
    });
    web.start();
    HttpClient client = HttpClient.newBuilder().executor(pool).build();
    URI base = URI.create("http://127.0.0.1:" + web.getAddress().getPort());
    List<CompletableFuture<String>> answers = IntStream.range(0, 20).mapToObj(i -> client.sendAsync(
        HttpRequest.newBuilder(base.resolve("/" + i)).build(), HttpResponse.BodyHandlers.ofString())
        .thenApply(HttpResponse::body)).collect(Collectors.toList());
    System.out.println(answers.stream().map(CompletableFuture::join).collect(Collectors.joining(" ")));
    web.stop(0);

    System.out.println("== files");
    Path file = Files.createTempFile(Path.of("."), "test", ".txt");
    Files.writeString(file, "written\n");
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE);
         FileLock lock = channel.lock()) {
      MappedByteBuffer map = channel.map(FileChannel.MapMode.READ_WRITE, 0, 4096);
      map.put(0, (byte) 'W');
      map.force();
      System.out.println(lock.isValid() + " " + channel.size());
    }
    System.out.println((char) Files.readAllBytes(file)[0]);
    try (WatchService watch = FileSystems.getDefault().newWatchService()) {
      Path.of(".").register(watch, StandardWatchEventKinds.ENTRY_CREATE);
      Files.createFile(Path.of("created"));
      WatchKey key = watch.poll(60, TimeUnit.SECONDS);
      System.out.println(key.pollEvents().get(0).context());
    }
    System.out.println(Files.getFileStore(Path.of(".")).getTotalSpace() >= 0);

    System.out.println("== processes");
    Process process = new ProcessBuilder("sh", "-c", "read x; echo got $x; exit 3").redirectErrorStream(true).start();
    try (Writer w = process.outputWriter()) { w.write("line\n"); }
    System.out.print(new String(process.getInputStream().readAllBytes()));
    System.out.println(process.waitFor());
    Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("shutdown hook")));
    pool.shutdown();
    System.out.println(pool.awaitTermination(60, TimeUnit.SECONDS));
  }
}
JAVA
javac Main.java
for collector in Serial G1; do
  mkdir "$collector"
  (cd "$collector" && java -XX:+Use${collector}GC -Xmx64m -Xss512k -cp .. Main "$rounds")
done
echo "== tools"
jar --create --file main.jar --main-class Main ./*.class
jar --list --file main.jar | grep -c class
cat >Waiting.java <<'JAVA'
public class Waiting {
  public static void main(String[] args) throws Exception {
    System.out.println("ready");
    System.in.read();
  }
}
JAVA
mkfifo in out
java Waiting.java <in >out &
exec 3>in 4<out
read -r -u 4 line; echo "$line"
jcmd "$!" Thread.print | grep -c '"main"'
kill -QUIT "$!"
exec 3>&-
wait "$!"; grep -c -a 'Full thread dump' <&4
