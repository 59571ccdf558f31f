/*
 * What Java programs do with a Service: their sockets are dual-stack, so an IPv4 address is dialled as
 * ::ffff:a.b.c.d. A line for each way: who answered, and who the program believes it talks to.
 *
 *     java Dial.java ADDRESS PORT
 */
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;

class Dial {
    public static void main(String[] words) throws Exception {
        InetAddress address = InetAddress.getByName(words[0]);
        int port = Integer.parseInt(words[1]);
        byte[] question = "who?\n".getBytes();

        try (Socket stream = new Socket(address, port)) {
            stream.getOutputStream().write(question);
            byte[] told = new byte[100];
            int length = stream.getInputStream().read(told);
            print("stream", new String(told, 0, length), (InetSocketAddress) stream.getRemoteSocketAddress());
        }
        var http = (HttpURLConnection) new URI("http", null, words[0], port, "/", null, null).toURL().openConnection();
        print("http", new String(http.getInputStream().readAllBytes()), new InetSocketAddress(address, port));
        try (DatagramSocket each = new DatagramSocket()) {
            each.setSoTimeout(20_000);
            each.send(new DatagramPacket(question, question.length, address, port));
            receive("datagram", each);
        }
        try (DatagramSocket each = new DatagramSocket()) {
            each.setSoTimeout(20_000);
            each.connect(address, port);
            each.send(new DatagramPacket(question, question.length));
            receive("connected", each);
        }
    }

    static void receive(String how, DatagramSocket from) throws Exception {
        var told = new DatagramPacket(new byte[100], 100);
        from.receive(told);
        print(how, new String(told.getData(), 0, told.getLength()), (InetSocketAddress) told.getSocketAddress());
    }

    static void print(String how, String who, InetSocketAddress peer) {
        System.out.println(how + " " + who + " " + peer.getAddress().getHostAddress() + " " + peer.getPort());
    }
}
