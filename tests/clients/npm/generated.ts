// The types of openapi-typescript with openapi-fetch: node generated.js URL USERNAME
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [, , baseUrl, username] = process.argv;
if (baseUrl === undefined || username === undefined) throw new Error("usage: node generated.js URL USERNAME");

const client = createClient<paths>({ baseUrl });
const credentials = { username, password: "password123" };

const register = await client.POST("/api/register", { body: credentials });
const login = await client.POST("/api/login", { body: credentials });
if (login.data === undefined) throw new Error(`login: ${login.response.status}`);
const token: string = login.data.token;
const profile = await client.GET("/api/profile", { headers: { Authorization: `Bearer ${token}` } });
const wrongPassword = await client.POST("/api/login", { body: { ...credentials, password: "wrongpassword" } });
const badRequest = await client.POST("/api/register", { body: { ...credentials, username: "ab" } });

const answers = { register, login, profile, wrongPassword, badRequest };
console.log(
  JSON.stringify(
    Object.fromEntries(
      Object.entries(answers).map(([name, { response, data, error }]) => [name, [response.status, data ?? error]]),
    ),
  ),
);
