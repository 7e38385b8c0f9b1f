// A master on Node's socket.io that does what its standard input says, and prints what it hears: one JSON a line.
const http = require("http").createServer();
const io = require("socket.io")(http);
const say = (event, data) => console.log(JSON.stringify({ event, data }));
io.use((socket, next) => (refusing ? next(new Error("not now")) : next()));
let refusing = false;
io.on("connection", (socket) => {
  say("connect", socket.handshake.auth);
  for (const event of ["join", "update node", "restore node"]) socket.on(event, (data) => say(event, data));
  socket.on("ping", (data, acknowledge) => {
    say("ping", data);
    if (acknowledge) acknowledge();
  });
  socket.on("disconnect", (reason) => say("disconnect", reason));
});
http.listen(Number(process.argv[2]), "127.0.0.1", () => say("listening", http.address().port));
require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [event, data] = JSON.parse(line);
    if (event === "kick") io.disconnectSockets();
    else if (event === "refuse") refusing = data;
    else if (event === "ask") io.timeout(2000).emit(data[0], data[1], (error, answers) => say("answer", answers));
    else io.emit(event, data);
  });
