// Node's own fetch: node fetch.mjs URL USERNAME
const [, , url, username] = process.argv;
const credentials = { username, password: "password123" };

async function call(path, options) {
  const response = await fetch(url + path, options);
  return [response.status, await response.json()];
}

function post(path, body) {
  return call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

const register = await post("/api/register", credentials);
const login = await post("/api/login", credentials);
const profile = await call("/api/profile", { headers: { Authorization: `Bearer ${login[1].token}` } });
const wrongPassword = await post("/api/login", { ...credentials, password: "wrongpassword" });
const badRequest = await post("/api/register", { ...credentials, username: "ab" });

console.log(JSON.stringify({ register, login, profile, wrongPassword, badRequest }));
