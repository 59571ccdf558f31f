// What Go programs do with a Service. A line for each way: who answered, and who the program believes
// it talks to.
//
//	go run dial.go ADDRESS PORT
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	where := net.JoinHostPort(os.Args[1], os.Args[2])
	stream(where)
	get(where)
	connected(where)
	unconnected(where)
	resolve(where)
}

func must[T any](it T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return it
}

func show(how, who string, peer net.Addr) {
	host, port, _ := net.SplitHostPort(peer.String())
	fmt.Println(how, who, host, port)
}

func ask(how string, made net.Conn) {
	made.SetDeadline(time.Now().Add(20 * time.Second))
	must(made.Write([]byte("who?\n")))
	told := make([]byte, 100)
	length := must(made.Read(told))
	show(how, string(told[:length]), made.RemoteAddr())
}

func stream(where string) {
	made := must(net.Dial("tcp", where))
	defer made.Close()
	ask("stream", made)
}

func get(where string) {
	var peer net.Addr
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			made, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				peer = made.RemoteAddr()
			}
			return made, err
		},
	}}
	answer := must(client.Get("http://" + where + "/"))
	defer answer.Body.Close()
	show("http", string(must(io.ReadAll(answer.Body))), peer)
}

func connected(where string) {
	made := must(net.Dial("udp", where))
	defer made.Close()
	ask("connected", made)
}

// unconnected is a dual-stack socket: Go sends an IPv4 address as ::ffff:a.b.c.d.
func unconnected(where string) {
	made := must(net.ListenPacket("udp", ":0"))
	defer made.Close()
	made.SetDeadline(time.Now().Add(20 * time.Second))
	must(made.WriteTo([]byte("who?\n"), must(net.ResolveUDPAddr("udp", where))))
	told := make([]byte, 100)
	length, peer, err := made.ReadFrom(told)
	must(length, err)
	show("datagram", string(told[:length]), peer)
}

func resolve(where string) {
	resolver := net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", where)
		},
	}
	fmt.Println("resolver", must(resolver.LookupIP(context.Background(), "ip4", "shop.example."))[0])
}
