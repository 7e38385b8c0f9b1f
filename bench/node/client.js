// Node's Socket.IO client: says when it is up or down, pings, and writes a line for each event: node client.js URL [FILE]
const { createWriteStream } = require("fs");
const { io } = require("socket.io-client");

const [url, file] = process.argv.slice(2);
const log = file && createWriteStream(file, { flags: "a" });
const socket = io(url, { transports: ["websocket"] });
socket.on("connect", () => console.log("up"));
socket.on("disconnect", () => console.log("down"));
socket.on("news", (data) => {
  log?.write(`[${new Date().toISOString()}] : [INFO] - [received event=news data=${JSON.stringify(data)}]\n`);
});
setInterval(() => socket.connected && socket.emit("ping", new Date().toISOString(), () => {}), 2000);
