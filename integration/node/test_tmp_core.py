from test_recheck import *
from test_recheck import _fill, _objects, _longest_gap, _address
def test_x(site):
    site.start("recheck"); site.stop()
    with site.homes["client"].inside():
        socks=[]
        for i in range(1000):
            s=socket.socket(socket.AF_INET, UDP); s.bind((PODS["client"][0], 20000+i)); socks.append(s)
    for s in socks:
        for port in range(1,101): s.sendto(b"x", (PODS["api"][0], port))
    for s in socks: s.close()
    feed, rules = _objects(site)
    with site.node.inside():
        r = Rechecker(NODE)
    with closing(r):
        r.submit(feed, run=True, everything=True); print("all allowed", _longest_gap(r), r.last_duration)
        r.submit(rules, run=True); print("policy", _longest_gap(r), r.last_duration, r.cut)
        r.submit([Change(feed[0].kind, feed[0].name, feed[0].new)], run=True, everything=True); print("everything again (all cut)", _longest_gap(r), r.last_duration, r.cut)
        import msgspec
        from podwire_core.objects import Pod
        far = msgspec.convert({"metadata":{"name":"far","namespace":"x"},"spec":{"nodeName":"n2"},"status":{"podIPs":[{"ip":"10.244.2.9"}],"phase":"Running"}}, Pod)
        r.submit([Change(Pod, far.name, far)], run=True); print("one pod", _longest_gap(r), r.last_duration, r.cut)
        r.submit([Change(c.kind, c.name, None) for c in rules], run=True); print("restored", _longest_gap(r), r.last_duration, r.restored)
