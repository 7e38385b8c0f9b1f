// Node's Socket.IO client: writes a line for each event; `node client.js URL FILE`.
const { createWriteStream } = require("fs");
const { io } = require("socket.io-client");

const [url, file] = process.argv.slice(2);
const log = createWriteStream(file, { flags: "a" });
const socket = io(url, { transports: ["websocket"] });
socket.on("news", (data) => {
  log.write(`[${new Date().toISOString()}] : [INFO] - [received event=news data=${JSON.stringify(data)}]\n`);
});
